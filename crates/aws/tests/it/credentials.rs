//! Who signs the requests.

use std::fs;
use std::path::Path;
use std::process::Command;

use migration_aws::{Access, CredentialSource, S3Store, StaticKeys};
use migration_core::config::{Credentials, S3Side, ServiceAccess, WriteSettings};
use migration_core::error::Service;
use migration_core::ports::{HeadRequest, ObjectStore};

use crate::support::access;
use crate::support::wire::{Asked, Request, answer, serve};

fn found(_: &Request) -> Vec<u8> {
    answer("200 OK", &[("etag", b"\"e\""), ("x-amz-request-id", b"R"), ("content-length", b"0")], b"")
}

/// Returns the access key that signed the only request; `None` if it is not signed.
fn signer(asked: &Asked) -> Option<String> {
    let requests = asked.take();
    assert_eq!(requests.len(), 1);
    let signature = requests[0].header("authorization")?;
    Some(signature.split_once("Credential=")?.1.split_once('/')?.0.to_owned())
}

#[tokio::test]
async fn credentials_given_apart_replace_those_of_the_side() {
    let (address, asked) = serve(found).await;
    let endpoint = Some(format!("http://{address}"));
    let service = ServiceAccess { region: "us-east-1".into(), endpoint, credentials: Credentials::Anonymous };
    let side = S3Side::new(service, true);
    let head = async |store: S3Store| store.head(HeadRequest::new("bkt", "k")).await.unwrap();
    head(S3Store::new(&side, &WriteSettings::default(), Service::Source, None).await).await;
    assert_eq!(signer(&asked), None);
    let keys = StaticKeys { access_key_id: "APART".into(), secret_access_key: "s".into(), session_token: None };
    let keys = CredentialSource::Static(keys);
    head(S3Store::with_credentials(&side, keys, &WriteSettings::default(), Service::Source, None).await).await;
    assert_eq!(signer(&asked).as_deref(), Some("APART"));
}

/// Runs requests in a process of its own: a process can't safely change its own environment.
#[tokio::test]
async fn a_profile_that_is_named_wins_over_the_environment() {
    let (address, asked) = serve(found).await;
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("config-with-profiles");
    let text = "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = s\n\
                [profile work]\naws_access_key_id = WORK\naws_secret_access_key = s\n";
    fs::write(&config, text).unwrap();
    for (profile, keys, expected) in
        [("work", true, "WORK"), ("", true, "ENVIRONMENT"), ("work", false, "WORK"), ("", false, "DEFAULT")]
    {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "credentials::asks_once", "--ignored", "--nocapture"]).env_clear();
        child.env("AWS_CONFIG_FILE", &config).env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
        child.env("AWS_EC2_METADATA_DISABLED", "true");
        child.env("TEST_PROFILE", profile).env("TEST_ENDPOINT", format!("http://{address}"));
        if keys {
            child.env("AWS_ACCESS_KEY_ID", "ENVIRONMENT").env("AWS_SECRET_ACCESS_KEY", "s");
        }
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        assert_eq!(signer(&asked).as_deref(), Some(expected), "{profile:?}, {keys}");
    }
}

#[tokio::test]
#[ignore = "run with an environment of its own by a_profile_that_is_named_wins_over_the_environment"]
async fn asks_once() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let profile = Some(variable("TEST_PROFILE")).filter(|name| !name.is_empty());
    let credentials = profile.map_or(CredentialSource::Pod, CredentialSource::Profile);
    let access = Access { credentials, ..access(variable("TEST_ENDPOINT")) };
    let store = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
    assert!(store.head(HeadRequest::new("bkt", "k")).await.unwrap().is_some());
}
