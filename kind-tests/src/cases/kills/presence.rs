//! Which programs ran during a case, and what the others waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use tokio::task::JoinHandle;

use super::schedule::Victim;
use crate::case::Case;
use crate::pods::runs;

const EVERY: Duration = Duration::from_secs(1);
const PROGRAMS: [Victim; 3] = [Victim::Worker, Victim::Jobsender, Victim::Operator];

/// Looks at the pods of all programs, until it is dropped.
#[derive(Debug)]
pub struct Presence {
    seen: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

/// What was missing at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    at: SystemTime,
    /// The programs that did not run, with what they waited for.
    missing: BTreeMap<Victim, String>,
}

impl Presence {
    /// Starts to look, once a second.
    pub fn start(case: &Case) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (cluster, recorded) = (case.cluster.clone(), Arc::clone(&seen));
        let namespaces = PROGRAMS.map(|program| program.namespace(case).to_owned());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let mut look = Look { at: SystemTime::now(), missing: BTreeMap::new() };
                for (program, namespace) in PROGRAMS.iter().zip(&namespaces) {
                    // The API server may not answer while the machine is busy: that look is left out.
                    let Ok(pods) = cluster.pods(namespace, &program.label()).await else { continue };
                    if let Some(why) = waits_for(&pods) {
                        look.missing.insert(*program, why);
                    }
                }
                recorded.lock().unwrap_or_else(PoisonError::into_inner).push(look);
            }
        });
        Self { seen, task }
    }

    /// Returns in words which programs did not run between two moments, for how long, and what they waited for.
    pub fn missing(&self, from: SystemTime, until: SystemTime) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        in_words(&missing(&seen, from, until))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns what a program waits for, or none if it runs in a pod.
fn waits_for(pods: &[Pod]) -> Option<String> {
    if pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_none() && runs(pod)) {
        return None;
    }
    let is_open = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let Some(pod) = pods.iter().find(is_open) else { return Some("no pod".to_owned()) };
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("ending".to_owned());
    }
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut waiting = statuses.filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    Some(waiting.next_back().unwrap_or_else(|| "starting".to_owned()))
}

/// The time that each program was missing, by what it waited for.
type Missing = BTreeMap<(Victim, String), Duration>;

/// Adds up the time between two moments that each program was missing: from each look to the next.
fn missing(looks: &[Look], from: SystemTime, until: SystemTime) -> Missing {
    let mut found = Missing::new();
    for (number, look) in looks.iter().enumerate() {
        let next = looks.get(number + 1).map_or(until, |next| next.at).min(until);
        let Ok(time) = next.duration_since(look.at.max(from)) else { continue };
        for (program, why) in &look.missing {
            *found.entry((*program, why.clone())).or_default() += time;
        }
    }
    found.retain(|_, time| !time.is_zero());
    found
}

fn in_words(missing: &Missing) -> String {
    if missing.is_empty() {
        return "all programs ran".to_owned();
    }
    let each = missing
        .iter()
        .map(|((program, why), time)| format!("no {} ({why}) {:.0} s", program.program(), time.as_secs_f64()));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_that_a_program_was_missing_is_counted_within_the_two_moments() {
        let look = |seconds, missing: &[(Victim, &str)]| Look {
            at: at(seconds),
            missing: missing.iter().map(|(program, why)| (*program, (*why).to_owned())).collect(),
        };
        let looks = [
            look(0, &[(Victim::Jobsender, "no pod")]),
            look(10, &[(Victim::Jobsender, "no pod"), (Victim::Worker, "CrashLoopBackOff")]),
            look(14, &[]),
            look(20, &[(Victim::Operator, "starting")]),
        ];
        let words = |from, until| in_words(&missing(&looks, at(from), at(until)));
        assert_eq!(words(4, 12), "no worker (CrashLoopBackOff) 2 s, no jobsender (no pod) 8 s");
        assert_eq!(words(14, 20), "all programs ran");
        assert_eq!(
            words(13, 25),
            "no worker (CrashLoopBackOff) 1 s, no jobsender (no pod) 1 s, no operator (starting) 5 s"
        );
    }

    #[test]
    fn what_a_program_waits_for_is_read_from_its_pods() {
        let pod = |phase: &str, state: serde_json::Value| -> Pod {
            let status = serde_json::json!({
                "phase": phase,
                "containerStatuses": [
                    {"name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state},
                ],
            });
            serde_json::from_value(serde_json::json!({"metadata": {}, "status": status})).unwrap()
        };
        let runs = pod("Running", serde_json::json!({"running": {}}));
        let ended = pod("Failed", serde_json::json!({"terminated": {"exitCode": 1}}));
        let waits = pod("Running", serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        assert_eq!(waits_for(&[ended.clone(), runs]), None);
        assert_eq!(waits_for(std::slice::from_ref(&ended)).as_deref(), Some("no pod"));
        assert_eq!(waits_for(&[ended, waits]).as_deref(), Some("CrashLoopBackOff"));
    }
}
