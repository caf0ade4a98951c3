//! The operator's page, a webhook and a budget on a real cluster: who may look sees the numbers of the status, a run that
//! has used up its budget waits for a greater one, and its end is announced to a receiver that fails at first.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::migration::totals;
use super::races::operators_are_ready;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::logs::{OPERATOR_NAMESPACE, OPERATORS};
use crate::proxy::{Body, full};
use crate::receiver::{Receiver, SIGNING_KEY};
use crate::seeded;
use crate::services;
use crate::tree::{Object, bytes_of};
use crate::wait::until;
use crate::{helm, paths};

/// Objects of the source and their size in bytes.
const OBJECTS: usize = 600;
const SIZE: usize = 16 << 10;
/// Delay of each write, in milliseconds: with 4 in flight, the run takes a minute.
const WRITE_MS: u64 = 400;
/// Requests that the receiver fails: the next attempts come after up to 5, 10 and 20 s.
const FAILURES: usize = 3;
/// Port of the page in the operator's pods.
const PORT: u16 = 8081;
/// Audience that the chart asks tokens for.
const AUDIENCE: &str = "s3-migration";
/// Time limit for what does not wait for a run.
const SOON: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(500);

/// Turns the page on for the release, and allows webhooks to this machine.
pub async fn shown(case: &mut Case) -> anyhow::Result<()> {
    let before = helm::values()?;
    let mut values = before.clone();
    values["ui"] = json!({"enabled": true});
    values["policy"]["webhookNetworks"] = json!([format!("{}/32", services::host_address()?)]);
    let result = match helm::upgrade(&helm::chart(), &values) {
        Ok(()) => with_page(case).await,
        Err(error) => Err(error),
    };
    // The other cases need the release as it was, whatever the result.
    let undelayed = services::proxies().delay(&case.destination, "PutObject", 0).await;
    let stranger = forget_stranger(case).await;
    let release = helm::upgrade(&helm::chart(), &before);
    result.and(undelayed).and(stranger).and(release).and(operators_are_ready(&case.cluster).await)
}

/// Deletes the user who may view the operators' namespace, which outlives the case.
async fn forget_stranger(case: &Case) -> anyhow::Result<()> {
    for object in viewer_of(&viewer_name(case), OPERATOR_NAMESPACE) {
        let api = case.cluster.api_of(OPERATOR_NAMESPACE, &object)?;
        match api.delete(&viewer_name(case), &DeleteParams::default()).await {
            // The case may have failed before.
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            other => drop(other.context("failed to delete a user of the page")?),
        }
    }
    Ok(())
}

fn viewer_name(case: &Case) -> String {
    format!("viewer-of-{}", case.namespace)
}

/// Returns the documents of a user who may view what is in a namespace.
fn viewer_of(name: &str, namespace: &str) -> [Value; 2] {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    });
    [account, binding]
}

async fn with_page(case: &mut Case) -> anyhow::Result<()> {
    operators_are_ready(&case.cluster).await?;
    let objects: Vec<Object> = (0..OBJECTS)
        .map(|number| Object::of_bytes(format!("{number:04}"), seeded::bytes(number as u64, SIZE)))
        .collect();
    case.prepare(&objects).await?;
    services::proxies().delay(&case.destination, "PutObject", WRITE_MS).await?;
    let directory = paths::results()?.join(format!("{}-receiver", case.namespace));
    let receiver = Receiver::start(services::host_address()?, &directory, FAILURES).await?;
    start(case, &receiver).await?;
    let pages = Pages::open(case).await?;
    pages.admit_only_readers().await?;
    case.note("no token: 401; a reader of another namespace: 403; a reader of this one: 200");
    used_up(case, &pages).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, OBJECTS as u64, bytes_of(&objects))?;
    pages.show(&job).await?;
    case.note(format!("both operators show the status at the end: {}", numbers(&job)?));
    announced(case, &receiver, &job).await?;
    case.note(case.check("")?);
    std::fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))
}

/// Creates a job whose budget is used up by its listings and about a third of its objects.
async fn start(case: &Case, receiver: &Receiver) -> anyhow::Result<()> {
    case.put_secret("signing-key", &[("key", SIGNING_KEY)]).await?;
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"},
        "data": {"ca.pem": receiver.authority()?},
    });
    case.cluster.apply(&case.namespace, &authority).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": 4});
    job["spec"]["scaling"]["maxReplicas"] = json!(1);
    job["spec"]["limits"] = json!({"cost": "0.002"});
    job["spec"]["notify"] = json!({
        "events": ["Complete"],
        "webhook": {
            "url": receiver.url(),
            "signingKey": {"secretKeyRef": {"name": "signing-key", "key": "key"}},
            "caBundle": {"configMapKeyRef": {"name": "authority", "key": "ca.pem"}},
        },
    });
    case.apply(&job).await
}

/// Waits until the run is paused since it has used up its budget, and has no workers; looks at the page, and raises the
/// budget.
async fn used_up(case: &mut Case, pages: &Pages) -> anyhow::Result<()> {
    let job = case
        .watch("a pause of a run over its budget", RUN_LIMIT, async |job: Option<&Value>| {
            let Some(job) = job else { return Ok(None) };
            ensure!(job.pointer("/status/lastRun").is_none(), "the run ended within its budget: {:#}", job["status"]);
            let is_over = condition(job, "Suspended")
                .is_some_and(|(status, reason, _)| (status, reason) == ("True", "OverBudget"));
            let workers = job.pointer("/status/workers/ready").and_then(Value::as_u64).unwrap_or_default();
            Ok((is_over && workers == 0).then(|| job.clone()))
        })
        .await?;
    let done = job.pointer("/status/progress/objects/done").and_then(Value::as_u64).unwrap_or_default();
    ensure!(done < OBJECTS as u64, "all {done} objects were copied before the pause");
    pages.show(&job).await?;
    let (_, _, message) = condition(&job, "Suspended").context("it is not suspended")?;
    case.note(format!("paused after {done} of {OBJECTS} objects, as the page shows: {message}"));
    case.patch_spec(&json!({"limits": {"cost": 10}})).await
}

/// Waits until the receiver has the end of the run, after its failures; verifies each attempt.
async fn announced(case: &mut Case, receiver: &Receiver, job: &Value) -> anyhow::Result<()> {
    until("the receiver to have the event", SOON, EVERY, async || Ok((receiver.got().len() > FAILURES).then_some(())))
        .await?;
    let got = receiver.got();
    for delivery in &got {
        delivery.verify(SIGNING_KEY)?;
        ensure!(
            delivery.id() == got[0].id(),
            "attempts at one event have the IDs {} and {}",
            got[0].id(),
            delivery.id()
        );
        ensure!(delivery.verify(&SIGNING_KEY.replace('M', "N")).is_err(), "the signature fits another key");
    }
    let event = got[FAILURES].event()?;
    ensure!(event["data"]["event"] == "Complete", "the event is {event}");
    ensure!(Some(&event["data"]["run"]["id"]) == job.pointer("/status/lastRun/id"), "the event is {event}");
    case.watch("nothing to be announced any more", SOON, async |job: Option<&Value>| {
        let holds = job.and_then(|job| condition(job, "Notified"));
        Ok(holds.is_some_and(|(status, ..)| status == "True").then_some(()))
    })
    .await?;
    ensure!(receiver.got().len() == FAILURES + 1, "the event was delivered again");
    case.note(format!("announced at attempt {}, each signed: {}", FAILURES + 1, event["data"]["message"]));
    Ok(())
}

/// The numbers that page and status have.
fn numbers(job: &Value) -> anyhow::Result<Value> {
    let progress = job.pointer("/status/progress").context("the status has no progress")?;
    let number = |path: &str| progress.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    Ok(json!({
        "objects": number("/objects/total"), "done": number("/objects/done"), "failed": number("/objects/failed"),
        "doneBytes": number("/bytes/done"),
    }))
}

/// The pages of all operators, and the tokens of a reader and of a reader of another namespace.
struct Pages {
    hosts: Vec<String>,
    path: String,
    reader: String,
    stranger: String,
}

impl Pages {
    async fn open(case: &Case) -> anyhow::Result<Self> {
        let pods = case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await?;
        let address = |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref()?.pod_ip.clone();
        let hosts: Vec<String> = pods.iter().filter_map(address).map(|ip| format!("{ip}:{PORT}")).collect();
        ensure!(i32::try_from(hosts.len())? == OPERATORS, "the operators have the addresses {hosts:?}");
        // The namespace of the operators is another one than that of the job.
        let (reader, stranger) = (viewer(case, &case.namespace).await?, viewer(case, OPERATOR_NAMESPACE).await?);
        Ok(Self { hosts, path: format!("/api/v1/namespaces/{}/jobs/{JOB}", case.namespace), reader, stranger })
    }

    /// A token is needed, and one of a user who may read the job.
    async fn admit_only_readers(&self) -> anyhow::Result<()> {
        for host in &self.hosts {
            for (token, expected) in [
                (None, StatusCode::UNAUTHORIZED),
                (Some("none of Kubernetes"), StatusCode::UNAUTHORIZED),
                (Some(&*self.stranger), StatusCode::FORBIDDEN),
            ] {
                for path in [&self.path, &format!("{}/failures", self.path), &"/api/v1/jobs".to_owned()] {
                    let (status, body) = get(host, path, token).await?;
                    ensure!(status == expected, "{path} was answered with {status} instead of {expected}: {body}");
                }
            }
            // The rights of a new role binding take a moment.
            until("the reader to be admitted", SOON, EVERY, async || {
                let (status, _) = get(host, &self.path, Some(&self.reader)).await?;
                Ok((status == StatusCode::OK).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until each operator shows the numbers and the phase of this status.
    async fn show(&self, job: &Value) -> anyhow::Result<()> {
        let (numbers, phase) = (numbers(job)?, &job["status"]["phase"]);
        for host in &self.hosts {
            let mut last = Value::Null;
            let shown = until("the page to show the status", SOON, EVERY, async || {
                let (status, body) = get(host, &self.path, Some(&self.reader)).await?;
                ensure!(status == StatusCode::OK, "the page was answered with {status}: {body}");
                let page: Value = serde_json::from_str(&body).context("failed to read the page's data")?;
                last = page["job"].clone();
                let has = |(name, number): (&String, &Value)| last["numbers"].get(name) == Some(number);
                let is_same = numbers.as_object().is_some_and(|numbers| numbers.iter().all(has));
                Ok((is_same && last["phase"] == *phase).then_some(()))
            });
            shown.await.with_context(|| format!("{host} shows {last} instead of {phase} {numbers}"))?;
        }
        Ok(())
    }
}

/// Creates a user who may view what is in a namespace, and returns a token.
async fn viewer(case: &Case, namespace: &str) -> anyhow::Result<String> {
    let name = viewer_name(case);
    for object in viewer_of(&name, namespace) {
        case.cluster.apply(namespace, &object).await?;
    }
    let accounts = Api::<ServiceAccount>::namespaced(case.cluster.client(), namespace);
    let spec = TokenRequestSpec { audiences: Some(vec![AUDIENCE.to_owned()]), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(&name, &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).context("the token request has no answer")
}

async fn get(host: &str, path: &str, token: Option<&str>) -> anyhow::Result<(StatusCode, String)> {
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::get(format!("http://{host}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer =
        client.request(request.body(full(""))?).await.with_context(|| format!("failed to ask the page at {host}"))?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
