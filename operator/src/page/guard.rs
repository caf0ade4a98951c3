//! Asks Kubernetes who the bearer of a token is, and whether that user may read a job.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client, Resource as _};
use migration_api::MigrationJob;
use migration_web::{Guard, Refusal, Wanted};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// Time for which an answer is kept: as long a token or a right that was taken away still counts.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Most answers that are kept. A further one takes the place of the oldest.
const MOST_KEPT: usize = 1_024;
/// Tokens that nobody vouches for may take one review in this time,
const STRANGERS_EVERY: Duration = Duration::from_millis(50);
/// or as many at once as this time has.
const STRANGERS_BURST: Duration = Duration::from_secs(1);
/// Most reviews at the same time.
const AT_ONCE: usize = 8;
/// Time for both reviews, the wait for others included.
const WITHIN: Duration = Duration::from_secs(10);

/// Digest of a token and of what is wanted: no token is kept.
type Key = [u8; 32];
/// An answer, and when it was given.
type Answered = (Instant, Result<(), Refusal>);

/// Admits users whom Kubernetes lets `get` the job, or `list` the jobs.
pub struct ReviewGuard {
    client: Client,
    /// The namespace that the operator watches; none for all.
    namespace: Option<String>,
    /// The audience that tokens must be for; none for the API server's.
    audience: Option<String>,
    kept: Mutex<HashMap<Key, Answered>>,
    strangers: Strangers,
    asking: Semaphore,
}

/// Reviews that tokens of nobody have taken of the API server: anybody can send such tokens. Once they have taken their
/// share, only bearers of tokens that were good before are asked for.
struct Strangers {
    /// When all of what they have taken will be theirs.
    paid_at: Mutex<Instant>,
}

impl Strangers {
    fn new(now: Instant) -> Self {
        Self { paid_at: Mutex::new(now) }
    }

    /// Returns true if they may take one more.
    fn may_ask(&self, now: Instant) -> bool {
        let paid_at = *self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        paid_at.saturating_duration_since(now) + STRANGERS_EVERY <= STRANGERS_BURST
    }

    /// Notes that one was taken.
    fn take(&self, now: Instant) {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_at = now.max(*paid_at) + STRANGERS_EVERY;
    }
}

impl ReviewGuard {
    /// Creates a guard that asks by this client, which may write reviews.
    pub fn new(client: Client, namespace: Option<String>, audience: Option<String>) -> Self {
        let strangers = Strangers::new(Instant::now());
        Self { client, namespace, audience, kept: Mutex::default(), strangers, asking: Semaphore::new(AT_ONCE) }
    }

    fn known(&self, key: &Key, now: Instant) -> Option<Result<(), Refusal>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(at, _)| now.duration_since(*at) < KEPT_FOR).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer to the bearer of a good token. The place of the others is what strangers have taken.
    fn keep(&self, key: Key, now: Instant, answer: &Result<(), Refusal>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(()) | Err(Refusal::Forbidden(_)) => {
                if kept.len() >= MOST_KEPT && !kept.contains_key(&key) {
                    let oldest = kept.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| *key);
                    oldest.and_then(|oldest| kept.remove(&oldest));
                }
                kept.insert(key, (now, answer.clone()));
            }
            Err(Refusal::Unauthenticated) => {
                kept.remove(&key);
                self.strangers.take(Instant::now());
            }
            Err(Refusal::Unavailable(_)) => {}
        }
    }

    /// Returns true if the bearer of a token got this answer before, however long ago.
    fn was_good(&self, key: &Key) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// Sends both reviews.
    async fn ask(&self, key: &Key, token: &str, asked: ResourceAttributes) -> Result<(), Refusal> {
        let Ok(_permit) = self.asking.acquire().await else { return Err(unavailable()) };
        if !self.strangers.may_ask(Instant::now()) && !self.was_good(key) {
            return Err(unavailable());
        }
        let user = self.user(token).await?;
        let name = user.username.clone().unwrap_or_default();
        let what = describe(&asked);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                groups: user.groups,
                extra: user.extra,
                uid: user.uid,
                resource_attributes: Some(asked),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| failed(&error))?;
        let status = answer.status.unwrap_or_default();
        let is_allowed = status.allowed && !status.denied.unwrap_or_default();
        if is_allowed { Ok(()) } else { Err(Refusal::Forbidden(format!("{name} may not {what}"))) }
    }

    async fn user(&self, token: &str) -> Result<UserInfo, Refusal> {
        let audiences = self.audience.clone().map(|audience| vec![audience]);
        let spec = TokenReviewSpec { token: token.to_owned(), audiences };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| failed(&error))?;
        let status = answer.status.unwrap_or_default();
        // What vouches for a token may know no audiences: it then names none. Source: the documentation of the type.
        let is_for_us = |audience| status.audiences.iter().flatten().any(|one| one == audience);
        if !self.audience.as_ref().is_none_or(is_for_us) {
            return Err(Refusal::Unauthenticated);
        }
        let user = status.user.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty()));
        user.filter(|_| status.authenticated == Some(true)).ok_or(Refusal::Unauthenticated)
    }
}

fn unavailable() -> Refusal {
    Refusal::Unavailable("Kubernetes can't be asked who may read this; try again".to_owned())
}

/// The text of the error is for the operator's log: who asks is nobody yet.
fn failed(error: &kube::Error) -> Refusal {
    warn!(%error, "failed to review a token or an access for the page; is the role of ui.enabled bound?");
    unavailable()
}

fn describe(asked: &ResourceAttributes) -> String {
    let verb = asked.verb.as_deref().unwrap_or_default();
    match &asked.namespace {
        Some(namespace) => format!("{verb} migrationjobs in namespace {namespace}"),
        None => format!("{verb} migrationjobs in all namespaces"),
    }
}

/// Returns what a user has to be allowed. The list of a namespace operator has one namespace only.
fn attributes(wanted: Wanted<'_>, watched: Option<&str>) -> ResourceAttributes {
    let (verb, namespace, name) = match wanted {
        Wanted::Jobs { namespace } => ("list", namespace.or(watched), None),
        Wanted::Job(job) => ("get", Some(job.namespace.as_str()), Some(job.name.clone())),
    };
    ResourceAttributes {
        group: Some(MigrationJob::group(&()).into_owned()),
        resource: Some(MigrationJob::plural(&()).into_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(ToOwned::to_owned),
        name,
        ..ResourceAttributes::default()
    }
}

fn key(token: &str, asked: &ResourceAttributes) -> Key {
    let mut digest = Sha256::new();
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    for part in [token.to_owned(), text(&asked.verb), text(&asked.namespace), text(&asked.name)] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl Guard for ReviewGuard {
    async fn admit(&self, token: &str, wanted: Wanted<'_>) -> Result<(), Refusal> {
        let asked = attributes(wanted, self.namespace.as_deref());
        let (key, now) = (key(token, &asked), Instant::now());
        if let Some(answer) = self.known(&key, now) {
            return answer;
        }
        let answer = timeout(WITHIN, self.ask(&key, token, asked)).await.unwrap_or_else(|_| Err(unavailable()));
        self.keep(key, now, &answer);
        answer
    }

    /// A page of another name has no token, and gets none from the browser: nothing is in cookies.
    fn is_host(&self, _: &str) -> bool {
        true
    }

    fn page_without_token(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_their_share_and_no_more() {
        let begun = Instant::now();
        let strangers = Strangers::new(begun);
        let taken = |now: Instant| {
            let all = std::iter::from_fn(|| strangers.may_ask(now).then(|| strangers.take(now)));
            all.take(1_000).count()
        };
        assert_eq!(taken(begun), 20);
        assert_eq!(taken(begun + STRANGERS_EVERY - Duration::from_millis(1)), 0);
        assert_eq!(taken(begun + STRANGERS_EVERY), 1);
        assert_eq!(taken(begun + Duration::from_mins(5)), 20);
    }

    #[tokio::test]
    async fn the_newest_answer_takes_the_place_of_the_oldest() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let guard = ReviewGuard::new(Client::try_from(config).unwrap(), None, None);
        let begun = Instant::now();
        let key = |number: usize| -> Key { Sha256::digest(number.to_string()).into() };
        for number in 0..=MOST_KEPT {
            let now = begun + Duration::from_millis(number.try_into().unwrap());
            guard.keep(key(number), now, &Ok(()));
            guard.keep(key(MOST_KEPT + number + 1), now, &Err(Refusal::Unauthenticated));
        }
        let known = |number| guard.known(&key(number), begun + Duration::from_secs(2));
        assert_eq!((known(0), known(1), known(MOST_KEPT)), (None, Some(Ok(())), Some(Ok(()))));
        assert_eq!(guard.kept.lock().unwrap().len(), MOST_KEPT, "what strangers asked is not kept");
        guard.keep(key(5), begun, &Err(Refusal::Unauthenticated));
        assert!(!guard.was_good(&key(5)), "a token that was taken away");
    }
}
