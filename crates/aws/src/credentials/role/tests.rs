use super::*;
use crate::{Access, CredentialSource, sdk};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use std::collections::VecDeque;
use std::sync::Arc;

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";

/// Gives sessions that end at these times, in seconds; `None` = it fails.
#[derive(Debug)]
struct Script(Mutex<VecDeque<Option<u64>>>);

impl ProvideCredentials for Script {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let next = self.0.lock().unwrap().pop_front().unwrap();
        future::ProvideCredentials::ready(match next {
            Some(end) => Ok(Credentials::new(format!("ends-{end}"), "s", None, Some(second(end)), "script")),
            None => Err(CredentialsError::unhandled("STS credentials must be defined")),
        })
    }
}

/// Gives one session, and never answers again.
#[derive(Debug)]
struct Hanging(Mutex<Option<SystemTime>>);

impl ProvideCredentials for Hanging {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.0.lock().unwrap().take() {
            Some(end) => future::ProvideCredentials::ready(Ok(Credentials::new("HELD", "s", None, Some(end), "test"))),
            None => future::ProvideCredentials::new(std::future::pending()),
        }
    }
}

/// An S3 that answers every request, and keeps who signed it.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<Vec<String>>>);

impl HttpConnector for Answers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap().push(request.headers().get("authorization").unwrap_or_default().to_owned());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::empty())))
    }
}

fn second(n: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(n)
}

fn role(script: impl Into<VecDeque<Option<u64>>>) -> RoleCredentials<Script> {
    RoleCredentials::new(ROLE.to_owned(), Script(Mutex::new(script.into())))
}

/// Asks at a time. Returns the session and until when it is to be used.
async fn at(role: &RoleCredentials<Script>, now: u64) -> Result<(String, u64), ServiceError> {
    match role.at(|| second(now)).await {
        Ok(got) => {
            let until = got.expiry().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            Ok((got.access_key_id().to_owned(), until))
        }
        Err(error) => Err(error.source().unwrap().downcast_ref::<Classified>().unwrap().0.clone()),
    }
}

#[tokio::test]
async fn a_session_is_replaced_before_it_ends() {
    let role = role([Some(3_600), Some(6_900)]);
    assert_eq!(at(&role, 0).await.unwrap(), ("ends-3600".to_owned(), 3_300));
    assert_eq!(at(&role, 3_300).await.unwrap(), ("ends-6900".to_owned(), 6_600));
}

#[tokio::test]
async fn short_sessions_are_used_for_most_of_their_time() {
    assert_eq!(at(&role([Some(100)]), 20).await.unwrap(), ("ends-100".to_owned(), 80));
}

#[tokio::test]
async fn a_session_is_used_to_its_end_while_sts_fails() {
    let role = role([Some(3_600), None, None, None, Some(9_000)]);
    at(&role, 0).await.unwrap();
    assert_eq!(at(&role, 3_300).await.unwrap(), ("ends-3600".to_owned(), 3_330));
    assert_eq!(at(&role, 3_590).await.unwrap(), ("ends-3600".to_owned(), 3_600));
    let error = at(&role, 3_600).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NoAnswer);
    assert!(error.to_string().contains(ROLE), "{error}");
    assert_eq!(at(&role, 3_700).await.unwrap().0, "ends-9000");
}

#[tokio::test]
async fn a_session_that_has_ended_shows_a_wrong_clock_and_is_not_used() {
    let error = at(&role([Some(100)]), 100).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Service(ServiceFault::ClockSkewed));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_used_to_its_end_while_sts_hangs() {
    // So short that the SDK asks for another one before each request.
    let provider = Hanging(Mutex::new(Some(SystemTime::now() + Duration::from_secs(6))));
    let credentials = SharedCredentialsProvider::new(RoleCredentials::new(ROLE.to_owned(), provider));
    let s3 = Answers::default();
    let connector = SharedHttpConnector::new(s3.clone());
    let access = Access { region: "us-east-1".into(), endpoint: None, credentials: CredentialSource::Anonymous };
    let config = sdk::load(&access).await.into_builder().credentials_provider(credentials);
    let config = config.http_client(http_client_fn(move |_, _| connector.clone())).build();
    let client = aws_sdk_s3::Client::new(&config);
    for request in 1..=3 {
        let answer = client.head_bucket().bucket("b").send().await;
        assert!(answer.is_ok(), "request {request}: {answer:?}");
    }
    let signed = s3.0.lock().unwrap().clone();
    assert_eq!(signed.iter().filter(|by| by.contains("Credential=HELD/")).count(), 3, "{signed:?}");
}

#[tokio::test]
async fn no_ended_session_is_used_while_sts_hangs() {
    let role = role([Some(3_600)]);
    assert!(role.fallback_on_interrupt().is_none(), "there is none yet");
    at(&role, 0).await.unwrap();
    let until = |now| role.held_at(second(now)).and_then(|held| held.expiry());
    assert_eq!(until(3_500), Some(second(3_530)));
    assert_eq!(until(3_599), Some(second(3_600)));
    assert_eq!(until(3_600), None);
    // By the clock of this machine it ended long ago.
    assert!(role.fallback_on_interrupt().is_none());
}
