//! Copies to services of several kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::local::case::{Case, Ended, Place, bucket, keys};
use crate::local::job::{Side, manifest};
use crate::local::objects;
use crate::tree::upload::seed;
use crate::tree::{Amount, Object, edge_case_keys, select};
use crate::wire::services::{Kind, Server};

/// Prefix of the buckets of objects that are copied as they are.
const FROM: &str = "services-from";
/// Prefix of the buckets of objects that some services store at another key, or without their tags.
const STRANGE: &str = "services-strange";
/// Number of real files, besides keys that tools commonly mishandle.
const FILES: usize = 60;
const LIMIT: Duration = Duration::from_mins(5);
/// The destinations.
const KINDS: [(Kind, &str); 4] = [
    (Kind::CheckedMiniStack, "ministack"),
    (Kind::VersityGw, "versitygw"),
    (Kind::Minio, "minio"),
    (Kind::LocalStack, "localstack"),
];

/// `copy` and `run` to services of four kinds: what a service takes is equal, and what it refuses has a failure with
/// the reason. What it stores elsewhere without a word is found by a verification.
pub async fn copies_between_services(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::CheckedMiniStack, "source").await?;
    let mut wrong = Vec::new();
    for (kind, name) in KINDS {
        let destination = case.server(kind, name).await?;
        let from = format!("{FROM}-{name}");
        seed(&source.s3(), &from, &objects(kind)?).await?;
        seed(&source.s3(), &format!("{STRANGE}-{name}"), &strange(kind)).await?;
        if let Err(error) = odd(case, &source, &destination, name).await {
            case.note(format!("strange objects to {name}: {error:#}"));
            wrong.push(format!("strange objects to {name}"));
        }
        for way in ["copy", "run"] {
            if let Err(error) = one(case, (&source, &from), &destination, name, way).await {
                case.note(format!("{way} to {name}: {error:#}"));
                wrong.push(format!("{way} to {name}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "failed: {}", wrong.join(", "));
    Ok(())
}

/// Returns real files, one object in parts, and the keys that a service stores as they are.
fn objects(kind: Kind) -> anyhow::Result<Vec<Object>> {
    let tree = select::tree(Amount { files: FILES, bytes: 0, large: 0 })?;
    let small = tree.into_iter().filter(|object| object.key != "large/toolchain.bin" && is_kept(kind, &object.key));
    let mut objects: Vec<Object> = small.map(objects::with_plain_tags).collect();
    objects.push(objects::in_parts());
    Ok(objects)
}

/// Returns true if a service stores an object at this key, or refuses it.
///
/// | service | what it does without an error |
/// |---|---|
/// | versitygw | reads keys as paths, and keeps no headers of keys that end with a slash |
/// | `MinIO` | removes slashes at the beginning, and lists no key below that of another object |
fn is_kept(kind: Kind, key: &str) -> bool {
    match kind {
        Kind::VersityGw => {
            !key.split('/').any(|name| name.is_empty() || name == ".") && (!key.contains("..") || key.ends_with(".."))
        }
        Kind::Minio => !key.starts_with('/') && key != "awkward/new/inside",
        _ => true,
    }
}

/// Returns objects that a service stores at another key, or without their tags; for services that keep all keys, those
/// of the others.
fn strange(kind: Kind) -> Vec<Object> {
    let is_kept_by = |other: Kind, key: &str| is_kept(other, key) || key.ends_with('/');
    let is_strange = |key: &str| match kind {
        Kind::VersityGw => !is_kept_by(kind, key),
        Kind::Minio => !is_kept_by(kind, key) || key == "awkward/new",
        _ => !(is_kept_by(Kind::VersityGw, key) && is_kept_by(Kind::Minio, key)),
    };
    let all = edge_case_keys::objects().into_iter();
    let mut objects: Vec<Object> = all.filter(|object| is_strange(&object.key)).collect();
    let mut tagged = Object::of_bytes("tagged", "S3 has no ampersand in tags");
    tagged.tags = vec![("team".into(), "data & storage".into())];
    objects.push(tagged);
    objects
}

/// Runs the job of strange objects with a verification: it finds each key that is not listed, and the report says that
/// tags were left behind.
async fn odd(case: &mut Case, source: &Server, destination: &Server, name: &str) -> anyhow::Result<()> {
    let to = format!("strange-{name}");
    bucket(destination, &to).await?;
    let from = format!("{STRANGE}-{name}");
    let (_, ended) = run(case, (source, &from), destination, &to).await?;
    let there: BTreeSet<String> = keys(destination, &to).await?.into_iter().collect();
    let missing: Vec<String> = keys(source, &from).await?.into_iter().filter(|key| !there.contains(key)).collect();
    let failed = case.failures(&to).await?.len();
    ended.expect(if failed > 0 {
        3
    } else if missing.is_empty() {
        0
    } else {
        4
    })?;
    let verified = ended.events("verified")?;
    let whole = verified.first().map(|event| event["whole"] == true).context("there was no verification")?;
    ensure!(whole == missing.is_empty(), "{missing:?} are missing, and the verification says {whole}");
    let tags = destination.s3().get_object_tagging().bucket(&to).key("tagged").send().await;
    let tags = tags.context("failed to read tags")?.tag_set().len();
    let report = case.s3migrate(&["report", &to, "-o", "json"], LIMIT).await?;
    let row = report.rows::<Value>()?.into_iter().find(|row| row["item"] == "not preserved");
    ensure!(row.is_some() == (tags == 0), "there are {tags} tags, and the report says {row:?}");
    let tags =
        row.map_or_else(|| "all tags".to_owned(), |row| format!("the report says not preserved: {}", row["details"]));
    case.note(format!("strange objects to {name}: {failed} failed, a verification finds {missing:?} missing; {tags}"));
    Ok(())
}

/// Copies everything to one service in one way, and checks it.
async fn one(
    case: &mut Case,
    from: (&Server, &str),
    destination: &Server,
    name: &str,
    way: &str,
) -> anyhow::Result<()> {
    let to = format!("{way}-{name}");
    bucket(destination, &to).await?;
    let (job, ended) = match way {
        "copy" => copy(case, from, destination, name, &to).await?,
        _ => run(case, from, destination, &to).await?,
    };
    let failures = case.failures(&job).await?;
    ended.expect(if failures.is_empty() { 0 } else { 3 })?;
    ensure!(failures.iter().all(|failure| !failure.message.is_empty()), "a failure has no reason: {failures:?}");
    let refused: BTreeSet<&str> = failures.iter().map(|failure| failure.key.as_str()).collect();
    let there: BTreeSet<String> = keys(destination, &to).await?.into_iter().collect();
    let both: Vec<&&str> = refused.iter().filter(|key| there.contains(**key)).collect();
    ensure!(both.is_empty(), "failed, and there: {both:?}");
    let ignored: Vec<String> = refused.iter().map(|key| literal(&format!("{}/{key}", from.1))).collect();
    let places = (Place::new(from.0, from.1), Place::new(destination, &to));
    let checked = case.check(&to, places.0, places.1, &ignored)?;
    let mut reasons: BTreeMap<(String, String), u64> = BTreeMap::new();
    for failure in failures {
        *reasons.entry((failure.class, reason(&failure.message, &failure.key))).or_default() += 1;
    }
    let reasons: Vec<String> = reasons.iter().map(|((class, why), n)| format!("{n} {class}: {why}")).collect();
    let refused =
        if reasons.is_empty() { "none refused".to_owned() } else { format!("refused {}", reasons.join("; ")) };
    case.note(format!("{way} to {name}: {checked}, {refused}"));
    ensure!(reasons.is_empty() || name == "versitygw" || name == "minio", "{name} takes every key");
    Ok(())
}

async fn copy(
    case: &Case,
    (source, from): (&Server, &str),
    destination: &Server,
    name: &str,
    to: &str,
) -> anyhow::Result<(String, Ended)> {
    let (from, to) = (format!("s3://{from}"), format!("s3://{to}"));
    let endpoints = (source.endpoint(), destination.endpoint());
    let arguments = [
        "copy",
        &from,
        &to,
        "--source-endpoint",
        &endpoints.0,
        "--destination-endpoint",
        &endpoints.1,
        "--source-profile",
        "source",
        "--destination-profile",
        name,
    ];
    let ended = case.s3migrate(&[&arguments[..], &["--json"]].concat(), LIMIT).await?;
    let printed = case.s3migrate(&[&arguments[..], &["--print-manifest"]].concat(), LIMIT).await?;
    printed.expect(0)?;
    let job: Value = serde_yaml::from_str(&printed.stdout).context("failed to read the printed manifest")?;
    let job = job["metadata"]["name"].as_str().context("the printed manifest has no name")?;
    Ok((job.to_owned(), ended))
}

async fn run(
    case: &Case,
    (source, from): (&Server, &str),
    destination: &Server,
    to: &str,
) -> anyhow::Result<(String, Ended)> {
    let endpoints = (source.endpoint(), destination.endpoint());
    let from = Side::new(&endpoints.0, source.keys(), from);
    let into = Side::new(&endpoints.1, destination.keys(), to);
    let verify = json!({"verify": {"mode": "Full", "method": "Read"}});
    let file = format!("{to}.yaml");
    case.write(&file, &manifest(to, &from, &into, verify)?)?;
    Ok((to.to_owned(), case.s3migrate(&["run", &file, "--json"], LIMIT).await?))
}

/// Returns a pattern of the checker that matches only this text.
fn literal(text: &str) -> String {
    text.chars().map(|c| if "*?[".contains(c) { format!("[{c}]") } else { c.to_string() }).collect()
}

/// Returns a message without the key and the request, so that equal reasons are told once.
fn reason(message: &str, key: &str) -> String {
    let text = message.replace(key, "KEY");
    text.split(" (request ").next().unwrap_or_default().chars().take(160).collect()
}
