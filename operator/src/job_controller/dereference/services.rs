//! Queue and table: creates them if they are the job's own, else checks them.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use migration_api::config::QueueAndTable;
use migration_api::services::QueueCreate;
use migration_api::status::{QueueDepth, Resources};
use migration_api::{MigrationJob, MigrationJobSpec, Reason};
use migration_aws::{Access, CredentialSource, is_amazon};
use migration_core::error::{ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::events::Senders;
use migration_core::ports::{Depth, MeasuredQueue};
use migration_sqs_dynamodb::{
    Clients, DynamoLedger, QueueAdmin, QueueSpec, QueueUrls, SqsQueue, TableAdmin, TableSpec,
};
use tracing::warn;

use crate::job_controller::dereference::secrets::Secrets;
use crate::names;
use crate::problem::Problem;

/// How long to wait for a table that is being created.
const TABLE_PATIENCE: Duration = Duration::from_secs(30);

/// Queue and table of a job, and their clients.
pub struct Services {
    wanted: ServicesSpec,
    /// Their URLs and names.
    pub queue_and_table: QueueAndTable,
    /// The queue.
    pub queue: SqsQueue,
    /// The dead letter queue.
    pub dead_letters: SqsQueue,
    /// The table.
    pub ledger: DynamoLedger,
}

/// The specification of queue and table. While it is unchanged, they need not be checked again.
#[derive(Clone, PartialEq)]
pub struct ServicesSpec {
    queue: Access,
    ledger: Access,
    queue_url: Option<String>,
    create: QueueCreate,
    table: Option<String>,
    own_name: String,
    tags: [(String, String); 3],
    /// UID of the job.
    job: String,
    /// The job follows events.
    has_events: bool,
    /// Who may send events to the queue that is created; none if somebody else sees to that.
    senders: Option<Senders>,
}

impl ServicesSpec {
    /// Returns the specification of a job, or none if a Secret that it needs cannot be used.
    pub fn of(job: &MigrationJob, secrets: &Secrets) -> Option<Self> {
        let MigrationJobSpec { queue, ledger, .. } = &job.spec;
        let access = |region: &str, endpoint: &Option<String>, credentials: &CredentialSource| Access {
            region: region.to_owned(),
            endpoint: endpoint.clone(),
            credentials: credentials.clone(),
        };
        let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
        Some(Self {
            queue: access(&queue.region, &queue.endpoint, secrets.queue.as_ref()?),
            ledger: access(&ledger.region, &ledger.endpoint, secrets.ledger.as_ref()?),
            queue_url: queue.url.clone(),
            create: queue.create.clone().unwrap_or_default(),
            table: ledger.table_name.clone(),
            own_name: names::queue_and_table(&name, &uid),
            tags: [
                ("s3migration.dev/namespace".to_owned(), job.namespace().unwrap_or_default()),
                (names::JOB_LABEL.to_owned(), name),
                ("s3migration.dev/uid".to_owned(), uid.clone()),
            ],
            job: uid,
            has_events: job.spec.trigger.events.enabled,
            senders: senders(&job.spec),
        })
    }

    /// Returns an error as it may be shown to the author of the resource. If the operator's own identity asked at an
    /// address that the author gave, its answer is only logged: else an author could read through the operator what it
    /// alone reaches.
    pub fn shown(&self, side: Service, error: ServiceError) -> ServiceError {
        let access = if side == Service::Queue { &self.queue } else { &self.ledger };
        let is_own = access.credentials == CredentialSource::Pod;
        if !is_own || is_amazon(access.endpoint.as_deref()) {
            return error;
        }
        warn!(%side, endpoint = access.endpoint, %error, "an endpoint refused the operator's own identity");
        let text = "the endpoint did not do this; its answer is in the operator's log";
        ServiceError::new(error.class, &error.operation, "NotShown", text)
    }

    fn queue_name(&self) -> &str {
        self.queue_url.as_deref().unwrap_or(&self.own_name)
    }

    fn table_name(&self) -> &str {
        self.table.as_deref().unwrap_or(&self.own_name)
    }

    fn queue_spec(&self) -> QueueSpec {
        QueueSpec {
            name: self.own_name.clone(),
            dead_letter_name: format!("{}{}", self.own_name, names::DEAD_LETTERS),
            visibility: Duration::from_secs(self.create.visibility_timeout_seconds.into()),
            retention: Duration::from_secs(u64::from(self.create.retention_days) * 24 * 3_600),
            max_receives: self.create.max_receives,
            tags: self.tags.clone().into(),
        }
    }

    fn table_spec(&self) -> TableSpec {
        TableSpec { name: self.own_name.clone(), tags: self.tags.clone().into() }
    }
}

impl Services {
    /// Returns queue and table: those known from before if the specification is the same, else checked or created.
    pub async fn ensure(
        wanted: ServicesSpec,
        before: Option<&Arc<Self>>,
        clients: &Clients,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        if let Some(before) = before.filter(|before| before.wanted == wanted) {
            return Ok(before.clone());
        }
        let queues = clients.queue_admin(&wanted.queue).await;
        let tables = clients.table_admin(&wanted.ledger).await;
        let (queue, table) = (queue(&wanted, &queues).await, table(&wanted, &tables).await);
        match (queue, table) {
            (Ok((QueueUrls { url: queue_url, dead_letter_url }, queue_arn)), Ok(table)) => {
                let queue_and_table = QueueAndTable { queue_url, dead_letter_url, table, queue_arn };
                Ok(Arc::new(Self {
                    queue: clients.queue(&wanted.queue, queue_and_table.queue_url.clone(), None).await,
                    dead_letters: clients.queue(&wanted.queue, queue_and_table.dead_letter_url.clone(), None).await,
                    ledger: clients.ledger(&wanted.ledger, queue_and_table.table.clone()).await,
                    queue_and_table,
                    wanted,
                }))
            }
            (queue, table) => Err([queue.err(), table.err()].into_iter().flatten().collect()),
        }
    }

    /// Returns how queue and table are reached.
    pub fn spec(&self) -> &ServicesSpec {
        &self.wanted
    }

    /// Returns how many messages wait or are in flight, and how many dead letters there are.
    pub async fn depth(&self) -> Result<QueueDepth, Problem> {
        let QueueAndTable { queue_url, dead_letter_url, .. } = &self.queue_and_table;
        let Depth { visible, in_flight, delayed } = self.depth_of(&self.queue, queue_url).await?;
        let dead_letters = self.depth_of(&self.dead_letters, dead_letter_url).await?.total();
        Ok(QueueDepth { visible: visible + delayed, in_flight, dead_letters })
    }

    async fn depth_of(&self, queue: &SqsQueue, url: &str) -> Result<Depth, Problem> {
        let problem = |error| Problem::service(Service::Queue, url, &self.wanted.shown(Service::Queue, error));
        queue.depth().await.map_err(problem)
    }
}

/// Returns who may send events to the job's queue, or none if the job does not see to that.
fn senders(spec: &MigrationJobSpec) -> Option<Senders> {
    let events = &spec.trigger.events;
    let buckets = || spec.buckets.iter().map(|pair| pair.source_bucket.clone()).collect();
    let is_ours = events.enabled && events.configure_bucket_notifications;
    is_ours.then(|| Senders { buckets: buckets(), account: events.source_account.clone() })
}

/// Returns the URLs of the queue and, if the job follows events, its ARN. The policy of a queue that exists is its owner's.
async fn queue(wanted: &ServicesSpec, queues: &QueueAdmin) -> Result<(QueueUrls, Option<String>), Problem> {
    let problem = |error: ServiceError| {
        Problem::service(Service::Queue, wanted.queue_name(), &wanted.shown(Service::Queue, error))
    };
    let Some(url) = &wanted.queue_url else {
        let urls = queues.ensure(&wanted.queue_spec()).await.map_err(problem)?;
        let arn = queues.set_senders(&urls.url, &wanted.job, wanted.senders.as_ref()).await.map_err(problem)?;
        return Ok((urls, arn));
    };
    match queues.dead_letter_url(url).await.map_err(problem)? {
        Some(dead_letter_url) => {
            let arn = if wanted.has_events { queues.arn(url).await.map_err(problem)? } else { None };
            Ok((QueueUrls { url: url.clone(), dead_letter_url }, arn))
        }
        None => Err(Problem::new(
            Reason::QueueDeadLettersMissing,
            format!("the queue {url} has no redrive policy: configure a dead letter queue, so that no message is lost"),
        )),
    }
}

async fn table(wanted: &ServicesSpec, tables: &TableAdmin) -> Result<String, Problem> {
    let name = wanted.table_name();
    let checked = match &wanted.table {
        Some(name) => tables.check(name).await,
        None => tables.ensure(&wanted.table_spec(), TABLE_PATIENCE).await,
    };
    checked.map(|()| name.to_owned()).map_err(|error| wanted.shown(Service::Ledger, error)).map_err(|error| {
        if error.class == ErrorClass::Refused {
            Problem::new(Reason::LedgerSchemaWrong, format!("ledger table {name}: {error}"))
        } else {
            Problem::service(Service::Ledger, name, &error)
        }
    })
}

/// Deletes the queue and the table that were created for the job. Returns what could not be deleted, and why.
pub async fn remove(wanted: &ServicesSpec, clients: &Clients) -> Vec<(String, ServiceError)> {
    let mut left = Vec::new();
    if wanted.queue_url.is_none() {
        let QueueSpec { name, dead_letter_name, .. } = wanted.queue_spec();
        if let Err(error) = clients.queue_admin(&wanted.queue).await.delete(&name, &dead_letter_name).await {
            let what = format!("queue {name} and its dead letter queue {dead_letter_name}");
            left.push((what, wanted.shown(Service::Queue, error)));
        }
    }
    if wanted.table.is_none()
        && let Err(error) = clients.table_admin(&wanted.ledger).await.delete(&wanted.own_name).await
    {
        left.push((format!("table {}", wanted.own_name), wanted.shown(Service::Ledger, error)));
    }
    left
}

/// Returns the ledger of a job that is being deleted, or none if its table does not exist.
pub async fn existing_ledger(wanted: &ServicesSpec, clients: &Clients) -> Result<Option<DynamoLedger>, ServiceError> {
    match clients.table_admin(&wanted.ledger).await.check(wanted.table_name()).await {
        Ok(()) => Ok(Some(clients.ledger(&wanted.ledger, wanted.table_name().to_owned()).await)),
        Err(error) if error.class == ErrorClass::Service(ServiceFault::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn queue_and_table_of(wanted: &ServicesSpec, known: Option<&Resources>) -> QueueAndTable {
    let url = |known: Option<&String>, name: &str| known.cloned().unwrap_or_else(|| name.to_owned());
    QueueAndTable {
        queue_url: url(known.and_then(|known| known.queue_url.as_ref()), wanted.queue_name()),
        dead_letter_url: url(known.and_then(|known| known.dead_letter_url.as_ref()), wanted.queue_name()),
        table: wanted.table_name().to_owned(),
        queue_arn: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::resource;

    fn secrets() -> Secrets {
        let pod = Some(CredentialSource::Pod);
        Secrets { queue: pod.clone(), ledger: pod, digests: Vec::new(), problems: Vec::new() }
    }

    #[test]
    fn what_is_made_carries_the_uid_and_the_settings() {
        let mut job = resource();
        job.spec.queue.create =
            Some(QueueCreate { visibility_timeout_seconds: 60, retention_days: 2, max_receives: 5 });
        let wanted = ServicesSpec::of(&job, &secrets()).unwrap();
        let queue = wanted.queue_spec();
        assert_eq!(queue.name, "s3-migration-photos-u-1");
        assert_eq!(queue.dead_letter_name, "s3-migration-photos-u-1-dlq");
        assert_eq!((queue.visibility.as_secs(), queue.retention.as_secs(), queue.max_receives), (60, 172_800, 5));
        assert_eq!(wanted.table_spec().name, queue.name);
        assert_eq!(queue.tags["s3migration.dev/uid"], "u-1");
    }

    #[test]
    fn what_an_endpoint_of_the_author_answers_the_operators_own_identity_is_not_shown() {
        let answer = || ServiceError::new(ErrorClass::AccessDenied, "get queue attributes", "Secret", "inside");
        let shown = |endpoint: Option<&str>, own: bool| {
            let mut job = resource();
            job.spec.queue.endpoint = endpoint.map(Into::into);
            let keys = CredentialSource::Profile("keys".into());
            let queue = Some(if own { CredentialSource::Pod } else { keys });
            let spec = ServicesSpec::of(&job, &Secrets { queue, ..secrets() }).unwrap();
            spec.shown(Service::Queue, answer())
        };
        let hidden = shown(Some("http://metadata.internal"), true);
        assert_eq!(hidden.class, ErrorClass::AccessDenied, "its kind is still known");
        assert!(!hidden.to_string().contains("inside") && !hidden.to_string().contains("Secret"), "{hidden}");
        assert!(hidden.to_string().contains("get queue attributes"), "{hidden}");
        for error in [
            shown(Some("http://metadata.internal"), false),
            shown(None, true),
            shown(Some("https://sqs.eu-west-1.amazonaws.com"), true),
        ] {
            assert_eq!(error, answer());
        }
    }

    #[test]
    fn without_keys_nothing_is_looked_for() {
        assert!(ServicesSpec::of(&resource(), &Secrets { queue: None, ..secrets() }).is_none());
    }

    #[test]
    fn new_keys_and_new_settings_are_looked_at_again() {
        let of = |change: fn(&mut MigrationJob)| {
            let mut job = resource();
            change(&mut job);
            ServicesSpec::of(&job, &secrets()).unwrap()
        };
        assert!(of(|_| ()) == of(|job| job.spec.scaling.max_replicas = 2));
        assert!(of(|_| ()) != of(|job| job.spec.queue.region = "eu-west-1".into()));
        assert!(of(|_| ()) != of(|job| job.spec.ledger.table_name = Some("mine".into())));
    }
}
