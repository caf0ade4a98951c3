//! Metrics of the operator and its jobs, in the text format of `OpenMetrics`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::text`]. Source: the specification of `OpenMetrics`.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A job, by labels that Prometheus does not use itself: `job` and `namespace` are those of the scraped pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job_namespace: String,
    job_name: String,
}

type Gauges = Family<JobLabels, Gauge<u64, AtomicU64>>;

/// The metrics of all jobs.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    backlog: Gauges,
    wanted: Gauges,
    leader: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (mut registry, backlog, wanted) =
            (Registry::with_prefix("s3migration"), Gauges::default(), Gauges::default());
        registry.register(
            "queue_backlog_messages",
            "Messages in the queue of a job: visible, delayed and in flight. Absent while the queue does not answer",
            backlog.clone(),
        );
        registry.register(
            "workers_wanted",
            "Workers that this backlog needs, within the limits of spec.scaling and without delay",
            wanted.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 if this operator acts, 0 if it is a standby", leader.clone());
        Self(Arc::new(Inner { registry, backlog, wanted, leader }))
    }
}

impl Metrics {
    /// Sets the messages in a job's queue and the workers that they need; without numbers, the job has none of both.
    pub fn set(&self, namespace: &str, job: &str, numbers: Option<(u64, u32)>) {
        let labels = JobLabels { job_namespace: namespace.to_owned(), job_name: job.to_owned() };
        let Inner { backlog, wanted, .. } = &*self.0;
        if let Some((messages, workers)) = numbers {
            backlog.get_or_create(&labels).set(messages);
            wanted.get_or_create(&labels).set(workers.into());
        } else {
            backlog.remove(&labels);
            wanted.remove(&labels);
        }
    }

    /// Sets whether this operator acts.
    pub fn set_leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    /// Returns all metrics as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_has_two_gauges_while_its_queue_answers() {
        let metrics = Metrics::default();
        metrics.set("media", "photos", Some((7, 2)));
        metrics.set("media", "films", Some((0, 0)));
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE s3migration_queue_backlog_messages gauge",
            "s3migration_queue_backlog_messages{job_namespace=\"media\",job_name=\"photos\"} 7",
            "s3migration_workers_wanted{job_namespace=\"media\",job_name=\"photos\"} 2",
            "s3migration_workers_wanted{job_namespace=\"media\",job_name=\"films\"} 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.lines().any(|found| found == "s3migration_leader 0"), "{text}");
        metrics.set_leader(true);
        assert!(metrics.text().unwrap().lines().any(|found| found == "s3migration_leader 1"));
        metrics.set("media", "photos", None);
        let text = metrics.text().unwrap();
        assert!(!text.contains("photos") && text.contains("films"), "{text}");
    }
}
