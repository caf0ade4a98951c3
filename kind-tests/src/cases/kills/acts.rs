//! Carries out kills and the drain.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams};
use serde_json::Value;

use super::schedule::{Each, Kill, Victim, Way};
use crate::case::{Case, JOB};
use crate::kubernetes::kubectl;
use crate::logs::OPERATOR_NAMESPACE;
use crate::pods;
use crate::wait::until;

/// Time limit for a program to run again, after kills before it: Kubernetes waits longer after each failure.
const AGAIN: Duration = Duration::from_mins(3);
/// Longest drain: workers have two minutes to end.
const DRAIN: Duration = Duration::from_secs(150);

/// Time within which all programs of the node have ended.
const ENDS_WITHIN: Duration = Duration::from_secs(100);

/// What was killed.
#[derive(Debug)]
pub struct Acts {
    began: Instant,
    killed: BTreeMap<(Victim, Way), usize>,
    drains: Vec<Duration>,
}

impl Victim {
    /// Returns the name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Jobsender => "jobsender",
            Self::Operator => "operator",
        }
    }

    /// Returns the namespace of its pods.
    pub fn namespace(self, case: &Case) -> &str {
        match self {
            Self::Worker | Self::Jobsender => &case.namespace,
            Self::Operator => OPERATOR_NAMESPACE,
        }
    }

    /// Returns the label of its pods.
    pub fn label(self) -> String {
        format!("app.kubernetes.io/component={}", self.program())
    }

    /// Returns the pods in which the program runs.
    async fn running(self, case: &Case) -> anyhow::Result<Vec<Pod>> {
        pods::running(&case.cluster, self.namespace(case), self.program()).await
    }
}

impl Acts {
    /// Waits until each program runs.
    pub async fn new(case: &Case) -> anyhow::Result<Self> {
        for victim in [Victim::Operator, Victim::Jobsender, Victim::Worker] {
            victims(case, victim).await?;
        }
        Ok(Self { began: Instant::now(), killed: BTreeMap::new(), drains: Vec::new() })
    }

    /// Waits until one of the programs of some kills runs, and then for the given time. Carries out the first kill whose
    /// program runs then, and removes it. Those before it come last. Fails if the run ends.
    pub async fn kill_next(&mut self, case: &Case, kills: &mut VecDeque<Kill>, gap: Duration) -> anyhow::Result<()> {
        running(case, kills).await?;
        tokio::time::sleep(gap).await;
        let (place, pods) = running(case, kills).await?;
        kills.rotate_left(place);
        let kill = kills.pop_front().context("there is no kill left")?;
        self.kill(case, kill, &pods).await
    }

    async fn kill(&mut self, case: &Case, kill: Kill, pods: &[Pod]) -> anyhow::Result<()> {
        let Kill { victim, way, choice } = kill;
        let pod = pods.get(choice % pods.len()).context("there is none")?;
        let (name, namespace) = (pod.name_any(), victim.namespace(case));
        match way {
            // Processes of another machine can't be killed.
            Way::Process if pods::kill_program(pod, victim.program())? > 0 => {}
            Way::Process | Way::AtOnce => case.cluster.force_delete_pod(namespace, &name).await?,
            Way::WithGrace => {
                let api: Api<Pod> = Api::namespaced(case.cluster.client(), namespace);
                api.delete(&name, &DeleteParams::default()).await.context("failed to delete a pod")?;
            }
        }
        eprintln!("{:6.1} s: {way:?} of {name}", self.began.elapsed().as_secs_f64());
        *self.killed.entry((victim, way)).or_default() += 1;
        Ok(())
    }

    /// Drains the node of a worker as people do, and lets pods come back once all are gone.
    pub async fn drain(&mut self, case: &Case) -> anyhow::Result<()> {
        let pods = victims(case, Victim::Worker).await?;
        let node = pods.first().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
        let node = node.context("the worker has no node")?;
        let began = Instant::now();
        let timeout = format!("--timeout={}s", DRAIN.as_secs());
        let drain = ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", &timeout];
        // Where there is no other node, no operator can start elsewhere, and the budget keeps the last one: it is deleted.
        let others = [&drain[..], &["--pod-selector=app.kubernetes.io/component!=operator"]].concat();
        let operators = ["--pod-selector=app.kubernetes.io/component=operator", "--disable-eviction"];
        let operators = [&drain[..], &operators].concat();
        let (others, operators) = tokio::join!(kubectl(&others), kubectl(&operators));
        let left = Victim::Worker.running(case).await;
        kubectl(&["uncordon", &node]).await?;
        others.and(operators)?;
        ensure!(left?.is_empty(), "workers ran on the drained node");
        // Longer than any request of the case takes, and shorter than the grace period.
        ensure!(began.elapsed() < ENDS_WITHIN, "a program did not end when it was told to: {:?}", began.elapsed());
        eprintln!("{:6.1} s: drained", self.began.elapsed().as_secs_f64());
        self.drains.push(began.elapsed());
        Ok(())
    }

    /// Returns the case's job.
    pub async fn job(&self, case: &Case) -> anyhow::Result<Value> {
        job(case).await
    }

    /// Returns the kills of each program.
    pub fn killed(&self) -> Each {
        let number = |of| self.killed.iter().filter(|((victim, _), _)| *victim == of).map(|(_, number)| number).sum();
        Each {
            worker: number(Victim::Worker),
            jobsender: number(Victim::Jobsender),
            operator: number(Victim::Operator),
        }
    }

    /// Returns the number of drains.
    pub fn drains(&self) -> usize {
        self.drains.len()
    }

    /// Returns the ways of the kills, and the drain, in words.
    pub fn in_words(&self) -> String {
        let number = |of| -> usize { self.killed.iter().filter(|((_, way), _)| *way == of).map(|(_, n)| n).sum() };
        let drains: Vec<String> = self.drains.iter().map(|d| format!("{:.0} s", d.as_secs_f64())).collect();
        format!(
            "{} processes killed, {} pods deleted at once, {} with grace; node drained in {}",
            number(Way::Process),
            number(Way::AtOnce),
            number(Way::WithGrace),
            drains.join(", ")
        )
    }
}

async fn job(case: &Case) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?)
}

/// Waits until a program of some kills runs; returns the place of the first one that does, and its pods.
async fn running(case: &Case, kills: &VecDeque<Kill>) -> anyhow::Result<(usize, Vec<Pod>)> {
    until("a program to run", AGAIN, Duration::from_millis(200), async || {
        for (place, kill) in kills.iter().enumerate() {
            let pods = kill.victim.running(case).await?;
            if !pods.is_empty() {
                return Ok(Some((place, pods)));
            }
        }
        live(case).await?;
        Ok(None)
    })
    .await
}

/// Fails if the run has ended.
async fn live(case: &Case) -> anyhow::Result<()> {
    let job = job(case).await?;
    let ended = job.pointer("/status/lastRun").is_some();
    ensure!(!ended, "the run ended: {:#}", job["status"]);
    Ok(())
}

/// Waits until a program runs; fails if the run ends first.
async fn victims(case: &Case, victim: Victim) -> anyhow::Result<Vec<Pod>> {
    until(&format!("{} to run", victim.program()), AGAIN, Duration::from_millis(200), async || {
        let pods = victim.running(case).await?;
        if pods.is_empty() {
            live(case).await?;
        }
        Ok((!pods.is_empty()).then_some(pods))
    })
    .await
}
