//! Roles that are assumed, by an STS whose answers are those of its API reference.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use migration_aws::{Access, CredentialSource, S3Store};
use migration_core::config::{AssumeRole, WriteSettings};
use migration_core::error::ErrorClass::{self, NoAnswer, Transient};
use migration_core::error::{Service, ServiceError, ServiceFault};
use migration_core::ports::{HeadRequest, ObjectStore};

use crate::support::access;
use crate::support::wire::{Request, answer, serve};

const ROLE: &str = "arn:aws-cn:iam::111122223333:role/reader";
const REQUEST_ID: &str = "<RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>";

/// Returns a session as STS gives it. Source: the example of `AssumeRole` in the STS API reference.
fn session(name: &str, ends: SystemTime) -> Vec<u8> {
    let ends = DateTime::from(ends).fmt(Format::DateTime).unwrap();
    let credentials = format!(
        "<Credentials><AccessKeyId>{name}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
         <SessionToken>token-of-{name}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
    );
    given(&credentials)
}

fn given(credentials: &str) -> Vec<u8> {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>{credentials}\
         <AssumedRoleUser><Arn>arn:aws-cn:sts::111122223333:assumed-role/reader/s3-migration-u-1</Arn>\
         <AssumedRoleId>ARO123EXAMPLE123:s3-migration-u-1</AssumedRoleId></AssumedRoleUser></AssumeRoleResult>\
         <ResponseMetadata>{REQUEST_ID}</ResponseMetadata></AssumeRoleResponse>"
    );
    answer("200 OK", &[("content-type", b"text/xml")], body.as_bytes())
}

/// Returns a refusal as STS answers. Source: "Common errors" in the STS API reference, and "AWS query protocol".
fn refusal(status: &str, code: &str, message: &str) -> Vec<u8> {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error>{REQUEST_ID}</ErrorResponse>"
    );
    answer(status, &[("content-type", b"text/xml")], body.as_bytes())
}

fn soon(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

fn found(_: &Request) -> Vec<u8> {
    answer("200 OK", &[("etag", b"\"e\""), ("x-amz-request-id", b"R"), ("content-length", b"0")], b"")
}

/// Sends requests in a process of its own, whose environment is the base identity and the address of STS. Returns the
/// error of the first that failed.
async fn ask(sts: &str, s3: &str, requests: &str) -> Option<ServiceError> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "roles::asks_as_a_role", "--ignored", "--nocapture"]).env_clear();
    child.env("AWS_ACCESS_KEY_ID", "BASE").env("AWS_SECRET_ACCESS_KEY", "s").env("AWS_SESSION_TOKEN", "base-token");
    child.env("AWS_ENDPOINT_URL_STS", format!("http://{sts}")).env("TEST_ENDPOINT", format!("http://{s3}"));
    child.env("TEST_REQUESTS", requests);
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let told = said.lines().find_map(|line| line.strip_prefix("TOLD "));
    serde_json::from_str(told.unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "run with an environment of its own by the other tests"]
async fn asks_as_a_role() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let role = AssumeRole {
        role_arn: ROLE.to_owned(),
        external_id: Some("photos".to_owned()),
        session_name: "s3-migration-u-1".to_owned(),
    };
    let credentials = CredentialSource::AssumeRole(role);
    let access = Access { region: "cn-north-1".into(), credentials, ..access(variable("TEST_ENDPOINT")) };
    let store = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
    let mut told = None;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    match variable("TEST_REQUESTS").as_str() {
        "one" => told = store.head(HeadRequest::new("bkt", "k")).await.err(),
        // Until the key `last` is there, which the test's STS decides.
        _ => loop {
            match store.head(HeadRequest::new("bkt", "last")).await {
                Ok(Some(_)) => break,
                Ok(None) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => panic!("{other:?}"),
            }
        },
    }
    println!("\nTOLD {}", serde_json::to_string(&told).unwrap());
}

#[tokio::test]
async fn a_role_is_assumed_once_by_the_pods_identity_and_signs() {
    let (sts, asked) = serve(|_| session("ROLE", soon(3_600))).await;
    let (s3, signed) = serve(found).await;
    assert_eq!(ask(&sts, &s3, "one").await, None);
    let asked = asked.take();
    assert_eq!(asked.len(), 1);
    let form = String::from_utf8_lossy(&asked[0].body).into_owned();
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws-cn%3Aiam%3A%3A111122223333%3Arole%2Freader",
        "RoleSessionName=s3-migration-u-1",
        "DurationSeconds=3600",
        "ExternalId=photos",
    ] {
        assert!(form.split('&').any(|found| found == part), "{part}: {form}");
    }
    let base = asked[0].header("authorization").unwrap();
    assert!(base.contains("Credential=BASE/") && base.contains("/cn-north-1/sts/aws4_request"), "{base}");
    let signed = signed.take();
    assert!(signed[0].header("authorization").unwrap().contains("Credential=ROLE/"));
    assert_eq!(signed[0].header("x-amz-security-token"), Some("token-of-ROLE"));
}

#[tokio::test]
async fn a_session_is_replaced_before_it_ends() {
    let given = AtomicU32::new(0);
    let (sts, asked) = serve(move |_| {
        let n = given.fetch_add(1, Ordering::Relaxed) + 1;
        session(&format!("SESSION{n}"), if n == 1 { soon(14) } else { soon(3_600) })
    })
    .await;
    let started = SystemTime::now();
    let (s3, _) = serve(|request| {
        let second = request.header("authorization").is_some_and(|text| text.contains("SESSION2"));
        if second { found(request) } else { answer("404 Not Found", &[("x-amz-request-id", b"R")], b"") }
    })
    .await;
    assert_eq!(ask(&sts, &s3, "until the second session").await, None);
    assert_eq!(asked.take().len(), 2);
    assert!(started.elapsed().unwrap() < Duration::from_secs(14), "after the first had ended");
}

#[tokio::test]
async fn what_sts_refuses_is_told_in_its_words_and_concerns_the_side() {
    use ServiceFault::{AccessDenied, CredentialsExpired, CredentialsInvalid, WrongRegion};
    let side = ErrorClass::Service;
    let denied =
        format!("User: arn:aws-cn:iam::1:user/u is not authorized to perform: sts:AssumeRole on resource: {ROLE}");
    let cases = [
        (refusal("403 Forbidden", "AccessDenied", &denied), side(AccessDenied), denied.as_str()),
        (refusal("403 Forbidden", "ExpiredToken", "it is expired"), side(CredentialsExpired), "it is expired"),
        (refusal("403 Forbidden", "InvalidClientTokenId", "no such token"), side(CredentialsInvalid), "no such token"),
        (refusal("400 Bad Request", "ValidationError", "1 validation error"), side(CredentialsInvalid), "1 validation"),
        (refusal("403 Forbidden", "RegionDisabledException", "not activated"), side(WrongRegion), "not activated"),
        (refusal("400 Bad Request", "Throttling", "Rate exceeded"), Transient, "Rate exceeded"),
        (given(""), NoAnswer, "has no credentials"),
        (
            answer("403 Forbidden", &[("content-type", b"text/html")], b"<html>secret</html>"),
            NoAnswer,
            "not the service's own",
        ),
    ];
    for (given, class, words) in cases {
        let (sts, _) = serve(move |_| given.clone()).await;
        let (s3, asked) = serve(found).await;
        let error = ask(&sts, &s3, "one").await.unwrap_or_else(|| panic!("{words}: no error"));
        assert_eq!(error.class, class, "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("assume role") && text.contains(ROLE), "{text}");
        assert!(!text.contains("secret") && !text.contains("base-token"), "{text}");
        assert_eq!(error.class == side(AccessDenied), text.contains("trust policy"), "{text}");
        assert!(asked.take().is_empty(), "nothing is sent without credentials");
    }
}
