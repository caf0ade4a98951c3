//! Several operators: the leader is killed, or frozen right after it sent a request, which is late then, and woken
//! later.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::races::{OPERATOR, reachable, scale_operator};
use crate::api_proxy::ApiProxy;
use crate::audit::{Audit, Entry};
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::logs::{OPERATOR_NAMESPACE, OPERATORS};
use crate::process::signal;
use crate::programs::{self, Program};
use crate::tree::Object;
use crate::wait::until;
use crate::{paths, pods};

/// How soon a standby acts after the leader's end.
const TAKEOVER: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_mins(1);
const OFTEN: Duration = Duration::from_millis(100);

/// The leader is killed; then leaders are frozen between a decision and the arrival of its request.
pub async fn takes_over(case: &mut Case) -> anyhow::Result<()> {
    let objects: Vec<_> = ["a", "b", "c"].map(|key| Object::of_bytes(key, key)).into();
    case.prepare(&objects).await?;
    killed(case).await?;
    let image = worker_image(case).await?;
    scale_operator(&case.cluster, 0).await?;
    let result = frozen(case, &image).await;
    // The other cases need the operator, whatever the result.
    scale_operator(&case.cluster, OPERATORS).await?;
    result
}

/// One of the installed operators leads and is killed, with its pod.
async fn killed(case: &mut Case) -> anyhow::Result<()> {
    let leader = until("an operator to lead", SOON, OFTEN, async || holder(case).await).await?;
    let all = case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await?;
    let pod = all.iter().find(|pod| pod.name_any() == leader).with_context(|| format!("{leader} is no pod"))?;
    pods::kill(pod)?;
    let began = Instant::now();
    case.cluster.force_delete_pod(OPERATOR_NAMESPACE, &leader).await?;
    case.apply(&reachable(&case.job())?).await?;
    let acted = async |job: Option<&Value>| {
        Ok(job.and_then(|job| job.pointer("/status/observedGeneration")).map(|_| began.elapsed()))
    };
    let seconds = case.watch("a standby to act", SOON, acted).await?;
    ensure!(seconds <= TAKEOVER, "the standby acted after {seconds:?}");
    let now = holder(case).await?;
    ensure!(now.as_ref() != Some(&leader), "{leader} was killed and leads");
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    case.note(format!("leader killed: a standby acted after {:.1} s", seconds.as_secs_f64()));
    Ok(())
}

async fn frozen(case: &mut Case, image: &str) -> anyhow::Result<()> {
    let whole = Audit::begin()?;
    let history = History::start(case);
    let first = Operator::start(case, "leader-1", image).await?;
    first.leads().await?;
    let second = Operator::start(case, "leader-2", image).await?;
    let path = format!("/namespaces/{}/jobs", case.namespace);
    let created = async || Ok(jobs(case).await?.contains(&format!("{JOB}-run-2")).then_some(()));
    let late = Late { method: Method::POST, path, trigger: "2", fits: |entry| entry.resource == "jobs" };
    let note = freeze(case, first, &late, created).await?;
    case.note(note);
    second.leads().await?;
    let third = Operator::start(case, "leader-3", image).await?;
    let path = format!("/migrationjobs/{JOB}/status");
    let written = async || {
        let job = case.cluster.jobs(&case.namespace).get(JOB).await?;
        Ok((job.data.pointer("/status/runsStarted") == Some(&json!(3))).then_some(()))
    };
    let late =
        Late { method: Method::PATCH, path, trigger: "3", fits: |entry| entry.resource == "migrationjobs/status" };
    let note = freeze(case, second, &late, written).await?;
    case.note(note);
    third.leads().await?;
    let states = history.stop();
    never_back(&states)?;
    let mut names = jobs(case).await?;
    names.retain(|name| *name != format!("{JOB}-preflight-1"));
    let runs: Vec<_> = (1..=3).map(|number| format!("{JOB}-run-{number}")).collect();
    ensure!(names == runs, "there are these Jobs: {names:?}");
    if let Some(audit) = whole {
        let made = |entry: &&Entry| {
            (entry.verb.as_str(), entry.resource.as_str(), entry.code) == ("create", "jobs", 201)
                && entry.namespace == case.namespace
                && entry.user.ends_with(&format!(":{OPERATOR}"))
        };
        let made = audit.entries()?.iter().filter(made).count();
        ensure!(made == 2, "{made} Jobs were created for 2 runs");
    }
    case.note(format!("{} states of the resource, none went back; one Job a run", states.len()));
    case.note(case.check("")?);
    Ok(())
}

/// A request that is late.
struct Late {
    method: Method,
    /// The end of its path.
    path: String,
    /// The value of `spec.trigger.manual` that makes the operator send it.
    trigger: &'static str,
    fits: fn(&Entry) -> bool,
}

/// Freezes the leader once it has sent the request, and lets it arrive when another one has led a whole run. `acted`
/// tells that the other one acts. Returns what happened.
async fn freeze(
    case: &Case,
    leader: Operator,
    late: &Late,
    acted: impl AsyncFnMut() -> anyhow::Result<Option<()>>,
) -> anyhow::Result<String> {
    let job = case.cluster.jobs(&case.namespace).get(JOB).await?;
    let before = job.data.pointer("/status/lastRun/id").and_then(Value::as_str).map(ToOwned::to_owned);
    let (is_frozen, frozen) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let pid = leader.program.id();
    let arrived = leader.proxy.before(late.method.clone(), &late.path, async move {
        signal("STOP", pid)?;
        // Nobody waits if the case has failed.
        let _ = is_frozen.send(Instant::now());
        released.await.context("the case has ended")
    });
    case.patch_spec(&json!({"trigger": {"manual": late.trigger}})).await?;
    let began = tokio::time::timeout(SOON, frozen).await.context("the leader sent no such request")??;
    until("another operator to act", SOON, OFTEN, acted).await?;
    let seconds = began.elapsed();
    ensure!(seconds <= TAKEOVER, "the standby acted after {seconds:?}");
    case.run_ended("Complete", before.as_deref(), RUN_LIMIT).await?;
    let whole = case.cluster.jobs(&case.namespace).get(JOB).await?.data["status"].clone();
    let audit = Audit::begin()?;
    release.send(()).ok().context("the request was not held")?;
    tokio::time::timeout(SOON, arrived).await.context("the request did not go on")???;
    let answer = match audit {
        Some(audit) => {
            let is_late = |entry: &Entry| entry.namespace == case.namespace && (late.fits)(entry) && entry.code >= 400;
            let entry = audit.wait_for("the late request in the audit log", SOON, is_late).await?;
            ensure!(entry.code == 409, "the late request was answered otherwise: {entry:?}");
            format!("{} {} answered 409", entry.verb, entry.resource)
        }
        None => "without an audit log".to_owned(),
    };
    let Operator { mut program, .. } = leader;
    signal("CONT", pid)?;
    let status = until("the woken operator to exit", SOON, OFTEN, async || program.ended()).await?;
    let log = program.log();
    ensure!(!status.success() && log.contains("exiting"), "it ended with {status}: {log}");
    let after = case.cluster.jobs(&case.namespace).get(JOB).await?.data["status"].clone();
    ensure!(after["lastRun"] == whole["lastRun"] && after["phase"] == "Complete", "{whole:#} became {after:#}");
    Ok(format!(
        "leader frozen for {:.1} s: a standby acted after {:.1} s; late {answer}; woken, it exited",
        began.elapsed().as_secs_f64(),
        seconds.as_secs_f64()
    ))
}

/// An operator as a local process, behind a proxy of its own, with the rights of the installed one.
struct Operator {
    program: Program,
    proxy: ApiProxy,
}

impl Operator {
    async fn start(case: &Case, name: &str, image: &str) -> anyhow::Result<Self> {
        let proxy = ApiProxy::start(case.cluster.client()).await?;
        let directory = paths::state()?.join(name);
        std::fs::create_dir_all(&directory).context("failed to make a directory")?;
        let config = proxy.write_config(&directory, OPERATOR_NAMESPACE, OPERATOR)?;
        let mut command = Command::new(programs::own("operator")?);
        command.args(["run", "--namespace", &case.namespace, "--health-address", "127.0.0.1:0"]);
        command.args(["--lease", OPERATOR, "--lease-namespace", OPERATOR_NAMESPACE, "--identity", name]);
        command.args(["--worker-image", image]).env("KUBECONFIG", config);
        Ok(Self { program: Program::start(name, &paths::state()?, &mut command)?, proxy })
    }

    async fn leads(&self) -> anyhow::Result<()> {
        until("the operator to lead", SOON, OFTEN, async || Ok(self.program.log().contains("leading").then_some(())))
            .await
            .with_context(|| self.program.log())
    }
}

/// Returns who holds the Lease.
async fn holder(case: &Case) -> anyhow::Result<Option<String>> {
    let api: Api<Lease> = Api::namespaced(case.cluster.client(), OPERATOR_NAMESPACE);
    Ok(api.get_opt(OPERATOR).await?.and_then(|lease| lease.spec?.holder_identity))
}

/// Returns the names of the case's Jobs of runs, in order.
async fn jobs(case: &Case) -> anyhow::Result<Vec<String>> {
    let api: Api<Job> = Api::namespaced(case.cluster.client(), &case.namespace);
    let mut names: Vec<_> =
        api.list(&ListParams::default()).await?.items.iter().map(kube::ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// Returns the image of workers that the installed operator has.
async fn worker_image(case: &Case) -> anyhow::Result<String> {
    let api: Api<Deployment> = Api::namespaced(case.cluster.client(), OPERATOR_NAMESPACE);
    let operator = serde_json::to_value(api.get(OPERATOR).await?)?;
    let args = operator.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
    let image = args.into_iter().flatten().find_map(|arg| arg.as_str()?.strip_prefix("--worker-image="));
    Ok(image.context("the operator has no image of workers")?.to_owned())
}

/// The states of the case's resource, as a watch shows them.
struct History {
    states: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl History {
    fn start(case: &Case) -> Self {
        let states = Arc::new(Mutex::new(Vec::new()));
        let (seen, api) = (states.clone(), case.cluster.jobs(&case.namespace));
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(watch_object(api, JOB));
            while let Some(state) = stream.next().await {
                if let Ok(Some(job)) = state {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(job.data["status"].clone());
                }
            }
        });
        Self { states, task }
    }

    fn stop(self) -> Vec<Value> {
        self.task.abort();
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Fails if a status says less than one before it.
fn never_back(states: &[Value]) -> anyhow::Result<()> {
    ensure!(states.len() > 1, "the watch showed nothing");
    let mut ended: Vec<&str> = Vec::new();
    for pair in states.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        let number = |state: &Value, path: &str| state.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        let run = |state: &'_ Value, member: &str| state[member]["id"].as_str().map(ToOwned::to_owned);
        for path in ["/runsStarted", "/observedGeneration"] {
            ensure!(number(old, path) <= number(new, path), "{path} went back: {old:#} became {new:#}");
        }
        let path = "/progress/objects/done";
        let is_one_run = run(old, "currentRun").is_some() && run(old, "currentRun") == run(new, "currentRun");
        ensure!(!is_one_run || number(old, path) <= number(new, path), "{path} went back: {old:#} became {new:#}");
        let is_ended = |state: &Value| state.get("currentRun").is_none_or(Value::is_null);
        ended.extend(old["lastRun"]["id"].as_str().filter(|_| is_ended(old)));
        let current = new["currentRun"]["id"].as_str();
        ensure!(!current.is_some_and(|run| ended.contains(&run)), "a run that had ended lives again: {new:#}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_goes_back_is_found() {
        let of = |started: u64, generation: u64, run: Option<&str>, last: Option<&str>, done: u64| {
            let mut state = json!({
                "runsStarted": started, "observedGeneration": generation, "progress": {"objects": {"done": done}},
            });
            if let Some(run) = run {
                state["currentRun"] = json!({"id": run});
            }
            if let Some(last) = last {
                state["lastRun"] = json!({"id": last});
            }
            state
        };
        let forth = [
            of(1, 1, Some("a"), None, 1),
            of(1, 1, Some("a"), None, 3),
            of(1, 1, None, Some("a"), 3),
            of(2, 2, Some("b"), Some("a"), 0),
        ];
        assert!(never_back(&forth).is_ok(), "{:?}", never_back(&forth));
        for (name, back) in [
            ("a run is started twice", of(1, 2, None, Some("a"), 3)),
            ("an old specification", of(2, 1, None, Some("a"), 3)),
            ("a run that has ended", of(2, 2, Some("a"), None, 0)),
        ] {
            let states: Vec<_> = forth.iter().cloned().chain([back]).collect();
            assert!(never_back(&states).is_err(), "{name}");
        }
        assert!(never_back(&[forth[1].clone(), forth[0].clone()]).is_err(), "fewer objects");
    }
}
