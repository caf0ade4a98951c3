//! The examples, run unchanged: names of the internet lead to a service of this machine.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration};
use serde_json::{Value, json};

use crate::local::case::{Case, Place, bucket};
use crate::local::job;
use crate::local::network::Internet;
use crate::local::objects;
use crate::paths;
use crate::services::REGION;
use crate::tls::Certificates;
use crate::tree::upload::{put_all, seed};
use crate::tree::{Amount, Object, select};
use crate::wire::services::{KEYS, Kind, Server};

const LIMIT: Duration = Duration::from_mins(2);
/// Names of the services that the examples use.
const NAMES: [&str; 14] = [
    "DNS:s3.us-east-1.amazonaws.com",
    "DNS:*.s3.us-east-1.amazonaws.com",
    "DNS:s3.us-west-2.amazonaws.com",
    "DNS:*.s3.us-west-2.amazonaws.com",
    "DNS:s3.eu-central-1.amazonaws.com",
    "DNS:*.s3.eu-central-1.amazonaws.com",
    "DNS:s3.cn-north-1.amazonaws.com.cn",
    "DNS:*.s3.cn-north-1.amazonaws.com.cn",
    "DNS:*.s3.us-east-1.amazonaws.com",
    "DNS:sts.eu-central-1.amazonaws.com",
    "DNS:sts.us-west-2.amazonaws.com",
    "DNS:minio.example.com",
    "DNS:*.example.com",
    "DNS:example.com",
];
/// Secrets that the examples name, besides those of the demo.
const SECRETS: [&str; 4] = ["china-keys", "copy-keys", "minio-keys", "vault-keys"];

/// A bucket and its region.
type Bucket = (&'static str, &'static str);

/// An example with its buckets and their prefixes.
struct Example {
    file: &'static str,
    from: Bucket,
    to: Bucket,
    prefix: &'static str,
    /// Prefix of the copies.
    into: &'static str,
}

const fn example(file: &'static str, from: Bucket, to: Bucket) -> Example {
    Example { file, from, to, prefix: "", into: "" }
}

/// Example of two roles in two accounts.
const ROLES: &str = "assume-role.yaml";

/// The examples that need no report, no service of their own and no account of their own.
const EXAMPLES: [Example; 6] = [
    example("minimal.yaml", ("example-photos", "eu-central-1"), ("example-photos-cn", "cn-north-1")),
    example("mirror.yaml", ("example-site", "eu-central-1"), ("example-site-mirror", REGION)),
    Example {
        prefix: "2026/",
        into: "onprem/",
        ..example("nightly.yaml", ("archive", REGION), ("example-archive", "eu-central-1"))
    },
    Example {
        prefix: "db/",
        ..example("backups.yaml", ("example-backups", REGION), ("example-backups-vault", "us-west-2"))
    },
    example("keda.yaml", ("example-logs", "eu-central-1"), ("example-logs-copy", REGION)),
    example("hpa.yaml", ("example-films", "eu-central-1"), ("example-films-copy", REGION)),
];

/// Every example is planned and run as it is, with the Secrets and `ConfigMaps` that it names in another file.
pub async fn examples_run_unchanged(case: &mut Case) -> anyhow::Result<()> {
    let certificates = Certificates::make(&case.file(""), &NAMES)?;
    let service = case.server(Kind::MiniStack, "service").await?;
    let internet = Internet::new(&[(":443", service.address()), (":9000", service.address())], certificates.clone());
    let proxy = internet.serve().await?;
    write_named(case)?;
    let url = format!("http://{}", proxy.address);
    let variables = [
        ("HTTPS_PROXY", OsStr::new(&url)),
        ("SSL_CERT_FILE", certificates.authority.as_os_str()),
        ("AWS_ACCESS_KEY_ID", OsStr::new(KEYS.0)),
        ("AWS_SECRET_ACCESS_KEY", OsStr::new(KEYS.1)),
    ];
    let mut wrong = Vec::new();
    for example in &EXAMPLES {
        if let Err(error) = one(case, &service, example, &variables).await {
            case.note(format!("{}: {error:#}", example.file));
            wrong.push(example.file);
        }
    }
    if let Err(error) = retry(case, &service, &variables).await {
        case.note(format!("retry.yaml: {error:#}"));
        wrong.push("retry.yaml");
    }
    if let Err(error) = roles(case, &service, &variables).await {
        case.note(format!("{ROLES}: {error:#}"));
        wrong.push(ROLES);
    }
    let refused = case.s3migrate_with(&["run", &file("events.yaml"), "named.yaml"], &variables, LIMIT).await?;
    ensure!(refused.stderr.contains("S3 can't send events"), "events.yaml is not refused: {}", refused.stderr);
    let hosts: Vec<String> = internet.asked().into_keys().collect();
    case.note(format!("hosts that were asked: {}", hosts.join(", ")));
    demo(case, &certificates).await?;
    let others = ["retry.yaml", "demo.yaml", "events.yaml", ROLES];
    let known: Vec<&str> = EXAMPLES.iter().map(|example| example.file).chain(others).collect();
    for entry in std::fs::read_dir(paths::repository().join("examples")).context("failed to list examples")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(known.contains(&name.as_str()), "no case runs examples/{name}");
    }
    ensure!(wrong.is_empty(), "failed: {}", wrong.join(", "));
    Ok(())
}

/// Writes what the examples name: Secrets, and an ignore list.
fn write_named(case: &Case) -> anyhow::Result<()> {
    let mut documents: Vec<Value> = SECRETS.iter().map(|name| job::secret(name, KEYS)).collect();
    let data = json!({"site.txt": "*.bak\n"});
    documents
        .push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ignore-lists"}, "data": data}));
    let texts: Result<Vec<_>, _> = documents.iter().map(serde_yaml::to_string).collect();
    case.write("named.yaml", &texts?.join("---\n")).map(drop)
}

fn place(service: &Server, (bucket, region): Bucket) -> Place<'_> {
    Place { region, ..Place::new(service, bucket) }
}

fn file(name: &str) -> String {
    let path: PathBuf = paths::repository().join("examples").join(name);
    path.display().to_string()
}

/// Returns the objects of an example. None is sent in parts by `backups.yaml`, which reads versions: `MiniStack` answers
/// ranges of a version with another range.
fn objects(prefix: &str) -> Vec<Object> {
    objects::plain().into_iter().map(|object| Object { key: format!("{prefix}{}", object.key), ..object }).collect()
}

async fn one(case: &mut Case, service: &Server, example: &Example, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let Example { file: name, from, to, prefix, into } = example;
    let is_backup = *name == "backups.yaml";
    in_region(service, *from, false).await?;
    in_region(service, *to, is_backup).await?;
    if is_backup {
        versioned(service, from.0).await?;
    }
    put_all(&service.s3_in(from.1), from.0, &objects(prefix)).await?;
    let path = file(name);
    let planned = case.s3migrate_with(&["plan", &path, "named.yaml"], variables, LIMIT).await?;
    planned.expect(0)?;
    let ran =
        case.s3migrate_with(&["run", &path, "named.yaml", "--json", "--patience", "20s"], variables, LIMIT).await?;
    ran.expect(0)?;
    let expected: Vec<String> = place(service, *from).keys().await?.iter().map(|key| format!("{into}{key}")).collect();
    let mut found = place(service, *to).keys().await?;
    found.retain(|key| key.starts_with(into));
    ensure!(found == expected, "{} has {} keys instead of {}", to.0, found.len(), expected.len());
    let notices: Vec<String> =
        ran.events("notice")?.iter().filter_map(|event| Some(event["message"].as_str()?.to_owned())).collect();
    let mut checked = format!("{} keys at {}", found.len(), to.0);
    if prefix.is_empty() {
        checked = case.check(to.0, place(service, *from), place(service, *to), &[])?;
    }
    case.note(format!("{name}: {checked}; {}", notices.join("; ")));
    Ok(())
}

/// Makes a bucket in a region, which may take locked objects.
async fn in_region(service: &Server, bucket: Bucket, is_locked: bool) -> anyhow::Result<()> {
    make(&service.s3_in(bucket.1), bucket, is_locked).await
}

async fn make(client: &Client, (name, region): Bucket, is_locked: bool) -> anyhow::Result<()> {
    let there = CreateBucketConfiguration::builder().location_constraint(region.into()).build();
    let there = (region != REGION).then_some(there);
    let request = client.create_bucket().bucket(name).set_create_bucket_configuration(there);
    let made = request.object_lock_enabled_for_bucket(is_locked).send().await;
    made.map(drop).with_context(|| format!("failed to make {name}"))
}

async fn versioned(service: &Server, name: &str) -> anyhow::Result<()> {
    let settings = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = service.s3().put_bucket_versioning().bucket(name).versioning_configuration(settings).send().await;
    put.map(drop).with_context(|| format!("failed to enable versions of {name}"))
}

/// The work list of `retry.yaml` is a report; a person would write one with these two files.
async fn retry(case: &mut Case, service: &Server, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    const LIST: &str = "photos/nightly-0a1b2c3d/20260101t020000z-1f2e";
    let chosen = place(service, EXAMPLES[0].from).keys().await?;
    let chosen = &chosen[..chosen.len().min(3)];
    let client = service.s3_in("cn-north-1");
    in_region(service, ("example-reports-cn", "cn-north-1"), false).await?;
    for key in chosen {
        let gone = client.delete_object().bucket("example-photos-cn").key(key).send().await;
        gone.with_context(|| format!("failed to delete {key}"))?;
    }
    let rows: Vec<String> = chosen.iter().map(|key| format!("example-photos,{}", encoded(key))).collect();
    let list = json!({
        "Format": "Report_CSV_20180820",
        "ReportCreationDate": "2026-01-01T02:00:00.000Z",
        "Results": [{"TaskExecutionStatus": "failed", "Bucket": "example-reports-cn", "Key": format!("{LIST}/results/1.csv")}],
        "ReportSchema": "Bucket, Key",
    });
    let files = [
        Object::of_bytes(format!("{LIST}/manifest.json"), list.to_string()),
        Object::of_bytes(format!("{LIST}/results/1.csv"), rows.join("\n")),
    ];
    put_all(&client, "example-reports-cn", &files).await?;
    let path = file("retry.yaml");
    let ran =
        case.s3migrate_with(&["run", &path, "named.yaml", "--json", "--patience", "20s"], variables, LIMIT).await?;
    ran.expect(0)?;
    let ended = ran.events("runEnded")?;
    let done = ended.first().map(|event| event["progress"]["done"].clone()).context("the run did not end")?;
    ensure!(done == json!(chosen.len()), "{done} of {} objects were copied", chosen.len());
    case.note(format!("retry.yaml: {done} objects of a work list; report at {}", ran.events("reported")?[0]["key"]));
    Ok(())
}

/// Each bucket is in the account of its role, which sees no other. The role is assumed at the regional endpoint of STS.
async fn roles(case: &mut Case, service: &Server, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let (from, to) = ("example-media", "example-media-copy");
    let owners = [("222233334444", "eu-central-1"), ("444455556666", "us-west-2")];
    let [reader, writer] = owners.map(|(account, region)| service.s3_of(account, region));
    make(&reader, (from, owners[0].1), false).await?;
    make(&writer, (to, owners[1].1), false).await?;
    put_all(&reader, from, &objects::plain()).await?;
    let path = file(ROLES);
    let ran = case.s3migrate_with(&["run", &path, "--json", "--patience", "20s"], variables, LIMIT).await?;
    ran.expect(0)?;
    let copies = writer.list_objects_v2().bucket(to).send().await.context("failed to list the copies")?;
    let (found, expected) = (copies.contents().len(), objects::plain().len());
    ensure!(found == expected, "{to} has {found} keys instead of {expected}");
    case.note(format!("{ROLES}: {found} keys at {to}, which is in another account"));
    Ok(())
}

fn encoded(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The job of `make demo-cluster`, on two services that check keys, behind its names.
async fn demo(case: &mut Case, certificates: &Certificates) -> anyhow::Result<()> {
    let source = case.server(Kind::CheckedMiniStack, "demo-source").await?;
    let destination = case.server(Kind::CheckedMiniStack, "demo-destination").await?;
    let host = |port: u16| format!("host.cluster.local:{port}");
    let services = [(&*host(9311), source.address()), (&*host(9312), destination.address())];
    let internet = Internet::new(&services, certificates.clone());
    let proxy = internet.serve().await?;
    seed(&source.s3(), "demo-from", &select::tree(Amount { files: 100, bytes: 4 << 20, large: 40 << 20 })?).await?;
    bucket(&destination, "demo-to").await?;
    let names = ["demo/source-keys", "demo/destination-keys", "demo/control-keys"];
    let secrets: Result<Vec<_>, _> =
        names.iter().map(|name| serde_yaml::to_string(&job::secret(name, source.keys()))).collect();
    case.write("demo-secrets.yaml", &secrets?.join("---\n"))?;
    let url = format!("http://{}", proxy.address);
    let path = file("demo.yaml");
    let arguments = ["run", &path, "demo-secrets.yaml", "--json"];
    case.s3migrate_with(&arguments, &[("HTTP_PROXY", OsStr::new(&url))], LIMIT).await?.expect(0)?;
    let ignored = select::ignore_patterns("demo-from");
    let places = (Place::new(&source, "demo-from"), Place::new(&destination, "demo-to"));
    let checked = case.check("demo", places.0, places.1, &ignored)?;
    let hosts: Vec<String> = internet.asked().into_keys().collect();
    case.note(format!("demo.yaml, with its Secrets: {checked}; hosts that were asked: {}", hosts.join(", ")));
    Ok(())
}
