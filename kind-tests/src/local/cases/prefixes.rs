//! Locations of `s3migrate copy`, compared with those of `aws s3 sync`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use crate::local::case::{Case, bucket, ended, keys};
use crate::services::python;
use crate::tree::Object;
use crate::tree::upload::seed;
use crate::wire::services::{Kind, Server};

const FROM: &str = "prefix-from";
const LIMIT: Duration = Duration::from_mins(2);
/// Marks a folder; `aws s3 sync` does not copy it.
const MARKER: &str = "p/folder/";
/// Keys of the source.
const KEYS: [&str; 10] = ["a", "p", "p/a", "p/b/c", "p/b/d", MARKER, "p/folder/in", "p2/x", "pa", "z/p/a"];

/// Each form of a source and a destination gives the keys that `aws s3 sync` gives.
pub async fn prefixes_as_aws_s3_sync(case: &mut Case) -> anyhow::Result<()> {
    let server = prepared(case).await?;
    let mut wrong = Vec::new();
    for (number, (source, destination)) in [
        ("", ""),
        ("/", "/"),
        ("", "/x"),
        ("/", "/x/"),
        ("/p", ""),
        ("/p", "/x"),
        ("/p", "/x/y"),
        ("/p", "/x/y/"),
        ("/p/", "/"),
        ("/p/", "/x"),
        ("/p/", "/x/"),
        ("/p/b", "/x"),
        ("/p/b/", "/p/b"),
        ("/z/p", "/p"),
        ("/p/a", "/x"),
        ("/missing", "/x"),
    ]
    .into_iter()
    .enumerate()
    {
        let from = format!("s3://{FROM}{source}");
        let (ours, theirs) = (format!("ours-{number}"), format!("theirs-{number}"));
        for name in [&ours, &theirs] {
            bucket(&server, name).await?;
        }
        copy(case, &server, &from, &format!("s3://{ours}{destination}"), &[]).await?.expect(0)?;
        sync(case, &server, &from, &format!("s3://{theirs}{destination}")).await?;
        let theirs: BTreeSet<String> = keys(&server, &theirs).await?.into_iter().collect();
        let ours: BTreeSet<String> = keys(&server, &ours).await?.into_iter().collect();
        let without_markers: BTreeSet<String> = ours.iter().filter(|key| !key.ends_with('/')).cloned().collect();
        let row = format!("s3://b{source} to s3://d{destination}");
        case.note(format!("{row}: {} keys", ours.len()));
        if without_markers != theirs {
            wrong.push(format!("{row}: {ours:?} here and {theirs:?} there"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// With `--prefix-as-string`, a prefix is the beginning of keys, and what follows it is appended as it is.
pub async fn prefixes_as_strings(case: &mut Case) -> anyhow::Result<()> {
    let server = prepared(case).await?;
    for (number, (source, destination, expected)) in [
        ("/pa", "/x", &["x"][..]),
        ("/p/", "/x", &["xa", "xb/c", "xb/d", "xfolder/", "xfolder/in"]),
        ("/p/b", "/x", &["x/c", "x/d"]),
        ("/p/b", "", &["/c", "/d"]),
        ("/p", "/x", &["x", "x/a", "x/b/c", "x/b/d", "x/folder/", "x/folder/in", "x2/x", "xa"]),
        ("/z", "/x/", &["x//p/a"]),
        ("/p2", "/p2", &["p2/x"]),
    ]
    .into_iter()
    .enumerate()
    {
        let into = format!("strings-{number}");
        bucket(&server, &into).await?;
        let (from, to) = (format!("s3://{FROM}{source}"), format!("s3://{into}{destination}"));
        copy(case, &server, &from, &to, &["--prefix-as-string"]).await?.expect(0)?;
        let found = keys(&server, &into).await?;
        ensure!(found == expected, "s3://b{source} to s3://d{destination}: {found:?} instead of {expected:?}");
        case.note(format!("s3://b{source} to s3://d{destination}: {}", found.join(", ")));
    }
    Ok(())
}

async fn prepared(case: &Case) -> anyhow::Result<Server> {
    let server = case.server(Kind::MiniStack, "server").await?;
    let content = |key: &str| if key == MARKER { "" } else { key }.to_owned();
    let objects: Vec<Object> = KEYS.iter().map(|key| Object::of_bytes(*key, content(key))).collect();
    seed(&server.s3(), FROM, &objects).await?;
    Ok(server)
}

async fn copy(
    case: &Case,
    server: &Server,
    from: &str,
    to: &str,
    options: &[&str],
) -> anyhow::Result<crate::local::case::Ended> {
    let endpoint = server.endpoint();
    let arguments = [
        "copy",
        from,
        to,
        "--source-endpoint",
        &endpoint,
        "--destination-endpoint",
        &endpoint,
        "--source-profile",
        "server",
        "--destination-profile",
        "server",
        "--quiet",
    ];
    case.s3migrate(&[&arguments, options].concat(), LIMIT).await
}

/// Runs the real `aws s3 sync`.
async fn sync(case: &Case, server: &Server, from: &str, to: &str) -> anyhow::Result<()> {
    let python = python()?;
    let mut command = Command::new(python.with_file_name("aws"));
    command.args(["s3", "sync", from, to, "--endpoint-url", &server.endpoint(), "--only-show-errors"]);
    let (id, secret) = server.keys();
    command.env_clear().env("HOME", case.file("")).env("PATH", "/usr/bin:/bin").env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_EC2_METADATA_DISABLED", "true");
    let ended = ended(command, LIMIT).await?;
    ensure!(ended.code == Some(0), "aws s3 sync ended with {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
    Ok(())
}
