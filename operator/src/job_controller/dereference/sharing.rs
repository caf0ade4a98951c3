//! Jobs that share a queue. Each would receive messages of the others, so only the oldest of them works.

use kube::ResourceExt;
use migration_api::{MigrationJob, Reason};
use migration_aws::is_amazon;

use crate::problem::Problem;

/// Identifies a queue. URLs of one queue may differ in the host by which the service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct QueueName<'a> {
    /// The endpoint of the service; none for AWS, where the region identifies it.
    endpoint: Option<&'a str>,
    region: &'a str,
    /// Account and name of the queue.
    path: &'a str,
}

impl<'a> QueueName<'a> {
    /// Returns the queue of a job: the one that it names, or the one that was created for it, once its URL is known.
    fn of(job: &'a MigrationJob) -> Option<Self> {
        let made = || job.status.as_ref()?.resources.as_ref()?.queue_url.as_deref();
        let queue = &job.spec.queue;
        let url = queue.url.as_deref().or_else(made)?;
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        let endpoint = queue.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/'));
        Some(Self {
            endpoint: endpoint.filter(|endpoint| !is_amazon(Some(endpoint))),
            region: &queue.region,
            path: path.trim_matches('/'),
        })
    }
}

/// Returns the other jobs that use the queue of a job.
pub fn others<'a>(job: &'a MigrationJob, all: &[&'a MigrationJob]) -> Vec<&'a MigrationJob> {
    let queue = QueueName::of(job);
    let shares = |other: &&MigrationJob| other.uid() != job.uid() && queue.is_some() && QueueName::of(other) == queue;
    all.iter().copied().filter(shares).collect()
}

/// The position of a job among those that share its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It is the oldest and works.
    Older(Problem),
    /// It is younger and waits: no run starts, and it has no workers.
    Younger(Problem),
}

/// Returns the position of a job, or none if it has its queue to itself.
pub fn decide(job: &MigrationJob, all: &[&MigrationJob]) -> Option<Sharing> {
    let mut sharers = others(job, all);
    sharers.sort_by_key(|other| age(other));
    let first = sharers.first()?;
    let names: Vec<_> = sharers.iter().map(|other| name(other)).collect();
    let url = job.spec.queue.url.as_deref().unwrap_or("created for this job");
    let way_out =
        "a queue serves one job: delete one of them and create it again without queue.url or with another queue";
    let problem = |does: &str| {
        let text = format!("the queue {url} is also used by MigrationJob {}; {does}; {way_out}", names.join(", "));
        Problem::new(Reason::QueueShared, text)
    };
    Some(if age(job) < age(first) {
        Sharing::Older(problem("this one is older and works on"))
    } else {
        Sharing::Younger(problem("this one is younger and waits"))
    })
}

/// Returns what orders jobs by age, the same for all operators.
fn age(job: &MigrationJob) -> (i64, String) {
    let created = job.creation_timestamp().map_or(i64::MAX, |time| time.0.as_millisecond());
    (created, job.uid().unwrap_or_default())
}

fn name(job: &MigrationJob) -> String {
    format!("{}/{}", job.namespace().unwrap_or_default(), job.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::resource;
    use migration_api::status::{MigrationJobStatus, Resources};

    fn job(uid: &str, second: u32, url: Option<&str>) -> MigrationJob {
        let mut job = resource();
        (job.metadata.name, job.metadata.uid) = (Some(format!("job-{uid}")), Some(uid.to_owned()));
        let created = format!("\"2026-01-01T00:00:{second:02}Z\"");
        job.metadata.creation_timestamp = Some(serde_json::from_str(&created).unwrap());
        job.spec.queue.url = url.map(ToOwned::to_owned);
        job
    }

    fn found(job: &MigrationJob, all: &[MigrationJob]) -> (&'static str, String) {
        match decide(job, &all.iter().collect::<Vec<_>>()) {
            None => ("alone", String::new()),
            Some(Sharing::Older(problem)) => ("older", problem.message),
            Some(Sharing::Younger(problem)) => ("younger", problem.message),
        }
    }

    #[test]
    fn of_jobs_with_one_queue_the_oldest_works_and_each_names_the_others() {
        let all = vec![
            job("a", 3, Some("http://sqs/0/q")),
            job("b", 1, Some("http://sqs/0/q")),
            job("c", 1, Some("http://other.name/0/q/")),
            job("d", 0, Some("http://sqs/0/another")),
            job("e", 0, None),
        ];
        let expected = ["younger", "older", "younger", "alone", "alone"];
        assert_eq!(all.iter().map(|job| found(job, &all).0).collect::<Vec<_>>(), expected);
        assert!(
            found(&all[0], &all).1.contains("MigrationJob media/job-b, media/job-c; this one is younger and waits")
        );
        assert!(
            found(&all[1], &all).1.contains("media/job-c, media/job-a; this one is older"),
            "{:?}",
            found(&all[1], &all)
        );
        assert_eq!(found(&all[1], &all[1..2]).0, "alone", "it is alone again when the others are gone");
    }

    #[test]
    fn the_queue_that_was_made_for_a_job_is_its_own() {
        let mut owner = job("a", 1, None);
        let resources = Resources { queue_url: Some("http://sqs/0/made".into()), ..Resources::default() };
        owner.status = Some(MigrationJobStatus { resources: Some(resources), ..MigrationJobStatus::default() });
        let all = vec![owner, job("b", 2, Some("http://sqs/0/made"))];
        assert_eq!((found(&all[0], &all).0, found(&all[1], &all).0), ("older", "younger"));
    }

    #[test]
    fn another_region_or_service_has_another_queue_and_aws_is_one() {
        let at = |uid: &str, region: &str, endpoint: Option<&str>| {
            let mut job = job(uid, 1, Some("https://sqs/1/q"));
            (job.spec.queue.region, job.spec.queue.endpoint) = (region.into(), endpoint.map(Into::into));
            job
        };
        let all = vec![
            at("a", "eu-west-1", None),
            at("b", "eu-west-1", Some("https://sqs.eu-west-1.amazonaws.com/")),
            at("c", "us-east-1", None),
            at("d", "eu-west-1", Some("http://elasticmq")),
        ];
        let found: Vec<_> = all.iter().map(|job| found(job, &all).0).collect();
        assert_eq!(found, ["older", "younger", "alone", "alone"]);
    }
}
