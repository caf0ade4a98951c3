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
/// Most answers that are kept.
const MOST_KEPT: usize = 1_024;
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
    kept: Mutex<HashMap<Key, Answered>>,
    asking: Semaphore,
}

impl ReviewGuard {
    /// Creates a guard that asks by this client, which may write reviews.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self { client, namespace, kept: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }

    fn known(&self, key: &Key, now: Instant) -> Option<Result<(), Refusal>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(at, _)| now.duration_since(*at) < KEPT_FOR).map(|(_, answer)| answer.clone())
    }

    fn keep(&self, key: Key, now: Instant, answer: &Result<(), Refusal>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, (at, _)| now.duration_since(*at) < KEPT_FOR);
        }
        // Where many ask, further answers are not kept.
        if kept.len() < MOST_KEPT {
            kept.insert(key, (now, answer.clone()));
        }
    }

    /// Sends both reviews.
    async fn ask(&self, token: &str, asked: ResourceAttributes) -> Result<(), Refusal> {
        let Ok(_permit) = self.asking.acquire().await else { return Err(unavailable()) };
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
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|error| failed(&error))?;
        let status = answer.status.unwrap_or_default();
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
        let answer = timeout(WITHIN, self.ask(token, asked)).await.unwrap_or_else(|_| Err(unavailable()));
        if !matches!(answer, Err(Refusal::Unavailable(_))) {
            self.keep(key, now, &answer);
        }
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
