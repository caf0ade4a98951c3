use super::*;
use std::collections::VecDeque;

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

/// Asks a role whose STS hangs at a time. Fails after the time that the SDK gives a provider.
async fn at_hanging(role: &RoleCredentials<Hanging>, now: u64) -> (String, u64) {
    let asked = tokio::time::timeout(Duration::from_secs(5), role.at(|| second(now)));
    let got = asked.await.expect("the SDK would have given up").unwrap();
    let until = got.expiry().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    (got.access_key_id().to_owned(), until)
}

#[tokio::test(start_paused = true)]
async fn a_session_is_used_to_its_end_while_sts_hangs() {
    let role = RoleCredentials::new(ROLE.to_owned(), Hanging(Mutex::new(Some(second(3_600)))));
    assert_eq!(at_hanging(&role, 0).await, ("HELD".to_owned(), 3_300));
    assert_eq!(at_hanging(&role, 3_300).await, ("HELD".to_owned(), 3_330));
    assert_eq!(at_hanging(&role, 3_590).await, ("HELD".to_owned(), 3_600));
    let asked = tokio::time::timeout(Duration::from_mins(10), role.at(|| second(3_600))).await;
    assert!(asked.is_err(), "an ended session is used, or STS has no time to give the first one: {asked:?}");
}

#[tokio::test]
async fn no_ended_session_is_held() {
    let role = role([Some(3_600)]);
    assert!(role.held_at(second(0)).is_none(), "there is none yet");
    at(&role, 0).await.unwrap();
    let until = |now| role.held_at(second(now)).and_then(|held| held.expiry());
    assert_eq!(until(3_500), Some(second(3_530)));
    assert_eq!(until(3_599), Some(second(3_600)));
    assert_eq!(until(3_600), None);
}
