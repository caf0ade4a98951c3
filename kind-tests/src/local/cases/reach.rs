//! Services that are reached by names of buckets, through TLS with certificates of one's own, and without keys.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use migration_aws::SystemClock;
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_s3_server::{Credentials, ServerSettings};
use serde_json::json;

use crate::local::case::{Case, Place, bucket, keys};
use crate::local::job::{Side, manifest};
use crate::local::network::Internet;
use crate::local::objects;
use crate::tls::{Certificates, tls};
use crate::tree::upload::seed;
use crate::wire::services::{DOMAIN, KEYS, Kind, Server};

const FROM: &str = "reach-from";
const LIMIT: Duration = Duration::from_mins(3);
/// Address of the service behind TLS: a certificate for `127.0.0.1` might be trusted by mistake.
const SECURED: &str = "127.0.0.11";

/// The source of these cases.
async fn source(case: &Case, kind: Kind) -> anyhow::Result<Server> {
    let source = case.server(kind, "source").await?;
    seed(&source.s3(), FROM, &objects::plain()).await?;
    Ok(source)
}

/// Buckets are part of the host's name. The names are known to a proxy only, so that this needs no name service.
pub async fn buckets_in_host_names(case: &mut Case) -> anyhow::Result<()> {
    let source = source(case, Kind::MiniStack).await?;
    let certificates = Certificates::make(&case.file(""), &["DNS:s3.test"])?;
    for (kind, name, domain) in [
        (Kind::Minio, "minio", DOMAIN),
        (Kind::VersityGw, "versitygw", DOMAIN),
        (Kind::LocalStack, "localstack", "s3.localhost.localstack.cloud"),
        (Kind::MiniStack, "ministack", "s3.localhost"),
    ] {
        let destination = case.server(kind, name).await?;
        let to = format!("host-{name}");
        bucket(&destination, &to).await?;
        let internet = Internet::new(&[(domain, destination.address())], certificates.clone());
        copy_to_name(case, &source, &internet, (&to, domain, name)).await?;
        let checked = case.check(&to, place(&source, FROM), place(&destination, &to), &[])?;
        case.note(format!("{name} as {to}.{domain}: {checked}"));
    }
    let store = LocalStore::in_memory(Arc::new(SystemClock), StoreSettings::default());
    store.create_bucket("host-own", BucketSettings::default());
    let credentials = vec![Credentials { access_key: KEYS.0.into(), secret_key: KEYS.1.into() }];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = ServerSettings { address, credentials, store: store.clone(), domains: vec![DOMAIN.into()] };
    let own = migration_s3_server::Server::start(settings).await?;
    case.profile("own", KEYS)?;
    let internet = Internet::new(&[(DOMAIN, own.address())], certificates);
    copy_to_name(case, &source, &internet, ("host-own", DOMAIN, "own")).await?;
    let (expected, found) = (keys(&source, FROM).await?, store.keys("host-own"));
    ensure!(found == expected, "the server of this project has {found:?}");
    case.note(format!("the server of s3migrate demo as host-own.{DOMAIN}: {} keys", found.len()));
    Ok(())
}

/// Copies to a bucket at a domain, and checks that every request named the bucket in its host.
async fn copy_to_name(
    case: &Case,
    source: &Server,
    internet: &Internet,
    (to, domain, profile): (&str, &str, &str),
) -> anyhow::Result<()> {
    let proxy = internet.serve().await?;
    let (from, into) = (format!("s3://{FROM}"), format!("s3://{to}"));
    let (at_source, at_destination) = (source.endpoint(), format!("http://{domain}"));
    let arguments = [
        "copy",
        &from,
        &into,
        "--source-endpoint",
        &at_source,
        "--destination-endpoint",
        &at_destination,
        "--destination-path-style",
        "false",
        "--source-profile",
        "source",
        "--destination-profile",
        profile,
        "--quiet",
    ];
    let url = format!("http://{}", proxy.address);
    let variables = [("HTTP_PROXY", OsStr::new(&url)), ("NO_PROXY", OsStr::new("127.0.0.1"))];
    let ended = case.s3migrate_with(&arguments, &variables, LIMIT).await?;
    ended.expect(0).with_context(|| format!("to {to}.{domain}"))?;
    let asked = internet.asked();
    ensure!(asked.keys().eq([&format!("{to}.{domain}")]), "other hosts were asked: {asked:?}");
    Ok(())
}

/// A service whose certificate only an own authority vouches for.
pub async fn own_authority(case: &mut Case) -> anyhow::Result<()> {
    let source = source(case, Kind::MiniStack).await?;
    let destination = case.server(Kind::VersityGw, "destination").await?;
    let certificates = Certificates::make(&case.file(""), &[&format!("IP:{SECURED}")])?;
    let front = tls(&certificates, SECURED, destination.address()).await?;
    let (at_source, at_destination) = (source.endpoint(), format!("https://{}", front.address));
    let authority = certificates.authority.display().to_string();
    for (to, options, code) in [("untrusted", &[][..], 1), ("trusted", &["--destination-ca-bundle", &authority], 0)] {
        bucket(&destination, to).await?;
        let (from, into) = (format!("s3://{FROM}"), format!("s3://{to}"));
        let arguments = [
            "copy",
            &from,
            &into,
            "--source-endpoint",
            &at_source,
            "--destination-endpoint",
            &at_destination,
            "--source-profile",
            "source",
            "--destination-profile",
            "destination",
            "--quiet",
        ];
        let ended = case.s3migrate(&[&arguments, options].concat(), LIMIT).await?;
        ended.expect(code).with_context(|| format!("to the bucket {to}"))?;
        if code != 0 {
            ensure!(ended.stderr.to_lowercase().contains("certificate"), "the reason is missing: {}", ended.stderr);
            case.note(format!("without the authority: {}", ended.stderr.trim()));
        }
    }
    let checked = case.check("flag", place(&source, FROM), place(&destination, "trusted"), &[])?;
    case.note(format!("--destination-ca-bundle: {checked}"));
    bucket(&destination, "by-manifest").await?;
    let text = read(&certificates.authority)?;
    let from = Side::new(&at_source, source.keys(), FROM);
    let into = Side { ca: Some(&text), ..Side::new(&at_destination, destination.keys(), "by-manifest") };
    case.write("by-manifest.yaml", &manifest("by-manifest", &from, &into, json!({}))?)?;
    case.s3migrate(&["run", "by-manifest.yaml", "--quiet"], LIMIT).await?.expect(0)?;
    let checked = case.check("manifest", place(&source, FROM), place(&destination, "by-manifest"), &[])?;
    case.note(format!("caBundle of a manifest: {checked}"));
    Ok(())
}

/// A source that anybody may read is copied without keys; another one is refused at once.
pub async fn anonymous_source(case: &mut Case) -> anyhow::Result<()> {
    let source = source(case, Kind::Minio).await?;
    let destination = case.server(Kind::VersityGw, "destination").await?;
    bucket(&destination, "anonymous").await?;
    let (at_source, at_destination) = (source.endpoint(), destination.endpoint());
    let (from, into) = (format!("s3://{FROM}"), "s3://anonymous");
    let arguments = [
        "copy",
        &from,
        into,
        "--source-endpoint",
        &at_source,
        "--destination-endpoint",
        &at_destination,
        "--source-anonymous",
        "--destination-profile",
        "destination",
        "--quiet",
    ];
    let refused = case.s3migrate(&arguments, LIMIT).await?;
    refused.expect(1)?;
    case.note(format!("not public: {}", refused.stderr.trim()));
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{FROM}")},
        {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:GetObjectTagging"],
         "Resource": format!("arn:aws:s3:::{FROM}/*")},
    ]});
    let put = source.s3().put_bucket_policy().bucket(FROM).policy(policy.to_string()).send().await;
    put.context("failed to make the bucket public")?;
    case.s3migrate(&arguments, LIMIT).await?.expect(0)?;
    let checked = case.check("anonymous", place(&source, FROM), place(&destination, "anonymous"), &[])?;
    case.note(format!("public: {checked}"));
    Ok(())
}

fn place<'a>(server: &'a Server, bucket: &'a str) -> Place<'a> {
    Place::new(server, bucket)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}
