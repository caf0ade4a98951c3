//! A job with an operator of its own, which is a plain process on an API server in memory.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context as _;
use migration_core::permissions::Part;
use migration_testkit::NAMESPACE;
use serde_json::{Value, json};

use crate::local::api_server::ApiServer;
use crate::local::case::{Case, bucket};
use crate::local::cases::policies::expected::{SERVICES, SIDES, Without};
use crate::local::cases::policies::judge::{Observed, denied, expected};
use crate::local::cases::policies::print_policy;
use crate::local::permissions::{ACCOUNT, Grant, Shown, needs, union, without};
use crate::programs::{self, Program};
use crate::proxy::log::Event;
use crate::seeded;
use crate::services::{AccessKey, REGION, create_user_at};
use crate::tree::Object;
use crate::wire::services::Server;

/// Source bucket of all jobs.
pub const FROM: &str = "operated-from";
/// An object that is sent in parts. Its batch is moved to the dead letters before a worker gets it.
pub const DOOMED: &str = "doomed";
/// Size of objects that are sent in parts, in bytes.
const LARGE: usize = 6 << 20;

/// A job with its users, API server and operator.
pub struct Operated<'a> {
    /// The case.
    pub case: &'a Case,
    /// The server of objects, queues and tables.
    pub server: &'a Server,
    /// Name of the resource.
    pub name: String,
    /// The operator's API server.
    pub api: ApiServer,
    /// The policy documents.
    pub policies: BTreeMap<Part, Value>,
    /// What they do not allow.
    pub lacks: Option<(Part, Grant)>,
    /// URLs of queue and ledger for the operator, and for jobsender and worker.
    pub proxies: [String; 2],
    operator: Program,
    key: AccessKey,
}

/// Returns the objects of the source.
pub fn objects() -> Vec<Object> {
    let large = |key, seed| Object::of_bytes(key, seeded::bytes(seed, LARGE));
    vec![large(DOOMED, 1), large("large", 2), Object::of_bytes("small", "in one piece")]
}

/// Starts counting proxies of queue and ledger: for the operator, and for jobsender and worker. Creates the bucket of the
/// copies.
pub async fn proxies(case: &mut Case, server: &Server, name: &str) -> anyhow::Result<[String; 2]> {
    bucket(server, &bucket_of(name)).await?;
    let operator = case.counted(&format!("operator of {name}"), server).await?;
    Ok([operator, case.counted(&format!("programs of {name}"), server).await?])
}

fn bucket_of(name: &str) -> String {
    format!("operated-to-{name}")
}

impl<'a> Operated<'a> {
    /// Creates the job with users that have the policies printed for it, and starts its operator.
    pub async fn start(
        case: &'a Case,
        server: &'a Server,
        name: &str,
        proxies: [String; 2],
        lacks: Option<(Part, Grant)>,
    ) -> anyhow::Result<Self> {
        let job = job(server, name, &proxies[0]);
        let file = format!("{name}.yaml");
        case.write(&file, &serde_yaml::to_string(&job)?)?;
        let printed = print_policy(case, &["all", "--file", &file, "--account", ACCOUNT]).await?;
        let mut printed: BTreeMap<String, Value> = serde_json::from_str(&printed).context("failed to read policies")?;
        let all = SIDES.into_iter().chain(SERVICES);
        let mut policies: BTreeMap<Part, Value> =
            all.filter_map(|of| Some((of, printed.remove(of.as_str())?))).collect();
        if let Some((of, grant)) = &lacks {
            policies.insert(*of, without(&policies[of], grant)?);
        }
        let user = |name: String, policy: &Value| create_user_at(&server.endpoint(), &name, &for_ministack(policy));
        let pods = [Part::Source, Part::Destination, Part::Queue, Part::Ledger].map(|of| policies[&of].clone());
        let key = user(format!("pods-of-{name}"), &union(&pods))?;
        let operators = user(format!("operator-of-{name}"), &policies[&Part::Operator])?;
        let api = ApiServer::start().await?;
        api.put(&job);
        let config = api.write_config(case.file(&format!("{name}.kubeconfig")))?;
        let mut command = Command::new(programs::own("operator")?);
        command.args(["--namespace", NAMESPACE, "--health-address", "127.0.0.1:0"]).env("KUBECONFIG", config);
        let operator = Program::start(&format!("operator-{name}"), &case.file(""), as_user(&mut command, &operators))?;
        let name = name.to_owned();
        Ok(Self { case, server, name, api, policies, lacks, proxies, operator, key })
    }

    /// Returns the bucket of the copies.
    pub fn to(&self) -> String {
        bucket_of(&self.name)
    }

    /// Starts jobsender or worker with this configuration.
    pub fn program(&self, program: &str, config: &str, arguments: &[&str]) -> anyhow::Result<Program> {
        let config = self.case.write(&format!("{program}-{}.yaml", self.name), config)?;
        let mut command = Command::new(programs::own(program)?);
        command.arg("--config").arg(config).args(["--name", program]).args(arguments);
        Program::start(&self.log_of(program), &self.case.file(""), as_user(&mut command, &self.key))
    }

    fn log_of(&self, program: &str) -> String {
        format!("{program}-{}", self.name)
    }

    /// Returns the resource; null if it is gone.
    pub fn job(&self) -> Value {
        self.api.get(&format!("/migrationjobs/{}", self.name)).unwrap_or_default()
    }

    /// Returns the requests of those who have a policy.
    pub fn events(&self, of: Part) -> anyhow::Result<Vec<Event>> {
        let who = if of == Part::Operator { "operator" } else { "programs" };
        let side = format!("{who} of {}", self.name);
        let events: Vec<Event> =
            self.case.log.look(0, |events| events.iter().filter(|event| event.side == side).cloned().collect());
        let mut found = Vec::new();
        for event in events {
            let is_queue = needs(&event, Shown::Unused)?.iter().any(|need| need.action.starts_with("sqs:"));
            if of == Part::Operator || is_queue == (of == Part::Queue) {
                found.push(event);
            }
        }
        Ok(found)
    }

    /// Returns a policy with the requests of those who have it.
    pub async fn observe(&self, of: Part) -> anyhow::Result<Observed> {
        let file = format!("{}.yaml", self.name);
        let explained = print_policy(self.case, &[of.as_str(), "--file", &file, "--explain"]).await?;
        Ok(Observed { policy: self.policies[&of].clone(), events: self.events(of)?, explained })
    }

    /// Returns what operator, jobsender and worker have said, and the status.
    pub fn told(&self) -> String {
        let log = |program| std::fs::read_to_string(self.case.file(&format!("{}.log", self.log_of(program))));
        let logs = ["jobsender", "worker"].map(|program| log(program).unwrap_or_default()).concat();
        let status = &self.job()["status"];
        format!("{}{logs}{status} {:?}", self.operator.log(), self.api.events())
    }

    /// Returns true if a request was denied and told of, which is the end that is expected.
    pub fn is_denied(&self) -> anyhow::Result<bool> {
        let Some((of, grant)) = &self.lacks else { return Ok(false) };
        let is_expected = expected(*of, grant) == Without::Fails;
        Ok(is_expected && denied(&self.events(*of)?).next().is_some() && self.told().contains(&grant.action))
    }
}

/// Runs a program as a user.
fn as_user<'a>(command: &'a mut Command, key: &AccessKey) -> &'a mut Command {
    command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
    command.env("AWS_EC2_METADATA_DISABLED", "true")
}

/// Returns the resource, with the UID that the names of queue and table end in. Who acts is up to the environment.
fn job(server: &Server, name: &str, services: &str) -> Value {
    let side = || json!({"region": REGION, "endpoint": server.endpoint(), "pathStyle": true});
    let create = json!({"visibilityTimeoutSeconds": 900, "retentionDays": 14, "maxReceives": 60});
    json!({
        "apiVersion": "s3migration.dev/v1alpha1",
        "kind": "MigrationJob",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}"), "generation": 1},
        "spec": {
            "buckets": [{"sourceBucket": FROM, "destinationBucket": bucket_of(name)}],
            "source": side(),
            "destination": side(),
            "queue": {"region": REGION, "endpoint": services, "create": create},
            "ledger": {"region": REGION, "endpoint": services},
            "transfer": {"mode": "Stream", "partSize": "5Mi", "multipartThreshold": "5Mi"},
        },
    })
}

/// Returns a policy as `MiniStack` reads it: to it, sending several messages is another action than sending one, and
/// tags of a table are not the table's.
fn for_ministack(policy: &Value) -> Value {
    const OF_TAGS: [&str; 2] = ["dynamodb:ListTagsOfResource", "dynamodb:TagResource"];
    let mut policy = policy.clone();
    let mut of_tags = Vec::new();
    for statement in policy["Statement"].as_array_mut().into_iter().flatten() {
        let Some(actions) = statement["Action"].as_array_mut() else { continue };
        of_tags.extend(actions.iter().filter(|action| OF_TAGS.iter().any(|of_tags| *action == of_tags)).cloned());
        if actions.iter().any(|action| action == "sqs:SendMessage") {
            actions.push(json!("sqs:SendMessageBatch"));
        }
    }
    if of_tags.is_empty() {
        return policy;
    }
    let of_tags = json!({"Statement": [{"Sid": "Tags", "Effect": "Allow", "Action": of_tags, "Resource": "*"}]});
    union(&[policy, of_tags])
}
