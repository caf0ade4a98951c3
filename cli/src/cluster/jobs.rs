//! Requests for MigrationJobs, with errors that tell a person what to do.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DeserializeGuard, Status};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use migration_api::MigrationJob;
use serde_json::Value;

/// Name of the program in `metadata.managedFields`.
const MANAGER: &str = "s3migrate";
/// The resource, as roles name it.
const RESOURCE: &str = "migrationjobs.s3migration.dev";

/// A MigrationJob, or why its resource can't be read.
pub type Found = DeserializeGuard<MigrationJob>;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The job does not exist.
    #[error(
        "failed to find MigrationJob {name} in {place}; `s3migrate cluster status -A` lists those of all namespaces"
    )]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// The cluster does not have the resource.
    #[error(
        "failed to {verb} MigrationJobs: the cluster does not know them; install the chart, or `s3migrate crd | kubectl \
         apply --server-side -f -`"
    )]
    NotInstalled {
        /// The verb, as roles name it.
        verb: &'static str,
    },
    /// A permission is missing.
    #[error(
        "failed to {verb} MigrationJobs: this takes the verb {verb} on {RESOURCE} in {place}, which your role does not \
         have: {message}"
    )]
    Forbidden {
        /// The verb, as roles name it.
        verb: &'static str,
        /// Where it is missing.
        place: String,
        /// The API server's words.
        message: String,
    },
    /// The credentials are not accepted.
    #[error("failed to {verb} MigrationJobs: the cluster refuses the credentials of the kubeconfig: {message}")]
    Unauthorized {
        /// The verb, as roles name it.
        verb: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The API server refuses the request.
    #[error("failed to {verb} MigrationJobs: {message}")]
    Refused {
        /// The verb, as roles name it.
        verb: &'static str,
        /// The API server's words.
        message: String,
    },
    /// The resource has members that this version can't read.
    #[error("failed to read MigrationJob {name}: {why}; use the version of s3migrate that belongs to the operator")]
    Unreadable {
        /// Its name.
        name: String,
        /// What can't be read.
        why: String,
    },
    /// No answer.
    #[error("failed to reach the cluster: {0}")]
    Unreachable(String),
}

impl RequestError {
    /// Returns true if the same request may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// The MigrationJobs of a namespace, or of all.
pub struct Jobs {
    api: Api<Found>,
    place: String,
}

impl Jobs {
    /// Uses a client for the jobs of a namespace, or of all if it is `None`.
    pub fn new(client: Client, namespace: Option<&str>) -> Self {
        match namespace {
            Some(namespace) => {
                Self { api: Api::namespaced(client, namespace), place: format!("namespace {namespace}") }
            }
            None => Self { api: Api::all(client), place: "all namespaces".to_owned() },
        }
    }

    /// Returns where the jobs are, in words.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads a job.
    pub async fn get(&self, name: &str) -> Result<MigrationJob, RequestError> {
        read(self.api.get(name).await.map_err(|error| self.explain("get", Some(name), &error))?)
    }

    /// Lists the jobs.
    pub async fn list(&self) -> Result<Vec<Found>, RequestError> {
        let found = self.api.list(&ListParams::default()).await;
        Ok(found.map_err(|error| self.explain("list", None, &error))?.items)
    }

    /// Changes members of a job by a JSON merge patch. Returns the job as it is then.
    pub async fn patch(&self, name: &str, members: &Value) -> Result<MigrationJob, RequestError> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api.patch(name, &parameters, &Patch::Merge(members)).await;
        read(patched.map_err(|error| self.explain("patch", Some(name), &error))?)
    }

    /// Watches the jobs, or one of them. Each item has all of them by namespace and name: first as they are, then after
    /// each change. Connections that break are made again, after an item with the error.
    pub fn watch(&self, name: Option<&str>) -> impl Stream<Item = Result<Vec<Found>, RequestError>> + '_ {
        let all = watcher::Config::default();
        let config = name.map_or(all.clone(), |name| all.fields(&format!("metadata.name={name}")));
        let mut seen = Seen::default();
        let events = watcher(self.api.clone(), config).default_backoff();
        events.filter_map(move |event| {
            let item = match event {
                Ok(event) => seen.change(event).then(|| Ok(seen.jobs.values().cloned().collect())),
                Err(error) => Some(Err(self.explain_watch(&error))),
            };
            std::future::ready(item)
        })
    }

    /// Waits for the next item of a watch that is not of a broken connection, which it tells. `name` is that of the watch:
    /// the job has to be there. Returns `None` at the end of the watch.
    pub async fn next_change(
        &self,
        changes: &mut (impl Stream<Item = Result<Vec<Found>, RequestError>> + Unpin),
        name: Option<&str>,
    ) -> Result<Option<Vec<Found>>, RequestError> {
        while let Some(found) = changes.next().await {
            match found {
                Err(error) if error.is_transient() => eprintln!("s3migrate: {error}; trying again"),
                Err(error) => return Err(error),
                Ok(found) => match name {
                    Some(name) if found.is_empty() => {
                        return Err(RequestError::NotFound { name: name.to_owned(), place: self.place().to_owned() });
                    }
                    _ => return Ok(Some(found)),
                },
            }
        }
        Ok(None)
    }

    fn explain_watch(&self, error: &watcher::Error) -> RequestError {
        match error {
            watcher::Error::InitialListFailed(error) => self.explain("list", None, error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                self.explain("watch", None, error)
            }
            // A watch that is too old is listed anew.
            watcher::Error::WatchError(status) => RequestError::Unreachable(status.message.clone()),
            watcher::Error::NoResourceVersion => RequestError::Unreachable(error.to_string()),
        }
    }

    fn explain(&self, verb: &'static str, name: Option<&str>, error: &kube::Error) -> RequestError {
        let place = self.place.clone();
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(error) => {
                return RequestError::Unreadable { name: name.unwrap_or_default().to_owned(), why: error.to_string() };
            }
            kube::Error::Service(error) => return RequestError::Unreachable(with_causes(&**error)),
            error => return RequestError::Unreachable(with_causes(error)),
        };
        let message = status.message.clone();
        match (status.code, name) {
            (404, Some(name)) if names_an_object(status) => RequestError::NotFound { name: name.to_owned(), place },
            (404, _) => RequestError::NotInstalled { verb },
            (401, _) => RequestError::Unauthorized { verb, message },
            (403, _) => RequestError::Forbidden { verb, place, message },
            // 429: too many requests. 500 and above: the API server, or a proxy before it.
            (429 | 500.., _) => RequestError::Unreachable(message),
            _ => RequestError::Refused { verb, message },
        }
    }
}

/// Returns true if a 404 is about an object. An API server without the resource answers with plain text.
fn names_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Returns an error with its causes, which kube's messages leave out.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn read(found: Found) -> Result<MigrationJob, RequestError> {
    found.0.map_err(|invalid| RequestError::Unreadable {
        name: invalid.metadata.name.unwrap_or_default(),
        why: invalid.error,
    })
}

/// The jobs that a watch has shown.
#[derive(Default)]
struct Seen {
    jobs: BTreeMap<(String, String), Found>,
    listed: BTreeMap<(String, String), Found>,
}

impl Seen {
    /// Takes in an event. Returns true if the jobs are complete, which they are not while they are listed.
    fn change(&mut self, event: watcher::Event<Found>) -> bool {
        let key = |job: &Found| (job.namespace().unwrap_or_default(), job.name_any());
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                return false;
            }
            watcher::Event::InitApply(job) => {
                self.listed.insert(key(&job), job);
                return false;
            }
            watcher::Event::InitDone => self.jobs = std::mem::take(&mut self.listed),
            watcher::Event::Apply(job) => drop(self.jobs.insert(key(&job), job)),
            watcher::Event::Delete(job) => drop(self.jobs.remove(&key(&job))),
        }
        true
    }
}
