//! Makes policies of an input by the rules.

use migration_api::manifest::BucketSide;
use migration_core::permissions::{self, Kind, Needs, Part, Rule};
use serde::Serialize;
use serde_json::{Value, json};

use super::arn;
use super::input::{Input, QueueNames, Range, Side};

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What it is for.
    pub part: Part,
    /// Its statements; none if nothing is known that it is about.
    pub statements: Vec<Statement>,
}

/// A statement: actions on the same resources, with the rules that ask for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it is about.
    pub kind: Kind,
    /// The rules, one for each action.
    pub rules: Vec<&'static Rule>,
    /// ARNs.
    pub resources: Vec<String>,
    /// The condition.
    pub condition: Option<Value>,
}

/// A policy document. Source: "Grammar of the IAM JSON policy language" in the IAM user guide.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    version: &'static str,
    statement: Vec<DocumentStatement<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DocumentStatement<'a> {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a Value>,
}

/// Version of the policy language. The older one knows no variables, with which wildcards are escaped.
pub const LANGUAGE: &str = "2012-10-17";

impl Policy {
    /// Returns the document.
    pub fn document(&self) -> Result<Value, serde_json::Error> {
        let statement = self.statements.iter().map(|statement| DocumentStatement {
            sid: statement.kind.sid(),
            effect: "Allow",
            action: statement.rules.iter().map(|rule| rule.action).collect(),
            resource: &statement.resources,
            condition: statement.condition.as_ref(),
        });
        serde_json::to_value(Document { version: LANGUAGE, statement: statement.collect() })
    }
}

/// Returns a policy for each part.
pub fn policies(input: &Input) -> Vec<Policy> {
    let of = |part| Policy { part, statements: statements(part, input) };
    Part::ALL.into_iter().map(of).collect()
}

fn statements(part: Part, input: &Input) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    let needs = needs(input);
    for rule in permissions::all().filter(|rule| rule.part == part && rule.when.holds(&needs)) {
        if let Some(known) = statements.iter_mut().find(|statement| statement.kind == rule.kind) {
            known.rules.push(rule);
            continue;
        }
        let resources = resources(rule.kind, input);
        if !resources.is_empty() {
            let condition = condition(rule.kind, input);
            statements.push(Statement { kind: rule.kind, rules: vec![rule], resources, condition });
        }
    }
    statements
}

/// Returns the settings that decide which requests are sent.
fn needs(input: &Input) -> Needs {
    let (settings, source, destination) = (&input.settings, &input.source, &input.destination);
    Needs {
        tags: settings.tags,
        tags_may_be_dropped: settings.tags && destination.has_endpoint,
        object_lock: settings.object_lock,
        acl: settings.acl,
        compares_versions: settings.compares_versions,
        reads_versions: settings.reads_versions,
        server_side: settings.server_side,
        mirror: settings.mirror,
        events: settings.events,
        notifications: settings.notifications,
        report: settings.report.is_some(),
        work_list: settings.work_list.as_ref().map(|(side, _)| *side),
        source_key: source.kms_key.is_some(),
        destination_key: destination.kms_key.is_some(),
        own_queue: settings.own_queue,
        own_table: settings.own_table,
        retains: settings.retains,
        notifies: settings.topic.is_some(),
    }
}

fn resources(kind: Kind, input: &Input) -> Vec<String> {
    let (source, destination) = (&input.source, &input.destination);
    let partition = |region: &str| input.partition.clone().unwrap_or_else(|| arn::partition(region).to_owned());
    let buckets = |side: &Side, ranges: &[Range]| {
        let mut buckets: Vec<_> =
            ranges.iter().map(|range| arn::bucket(&partition(&side.region), &range.bucket)).collect();
        buckets.dedup();
        buckets
    };
    let objects = |side: &Side, ranges: &[Range]| {
        ranges.iter().map(|range| arn::objects(&partition(&side.region), &range.bucket, &range.prefix)).collect()
    };
    let report = input.settings.report.as_slice();
    let account = input.account.as_deref();
    let key = |side: &Side| {
        let key = side.kms_key.as_deref().map(|key| arn::key(&partition(&side.region), &side.region, account, key));
        key.into_iter().collect()
    };
    let queue = |name: fn(&QueueNames) -> &str| {
        let arn = |queue: &QueueNames| queue_arn(input, queue, name(queue));
        input.queue.iter().map(arn).collect()
    };
    match kind {
        Kind::SourceBuckets => buckets(source, &source.ranges),
        Kind::SourceObjects => objects(source, &source.ranges),
        Kind::DestinationBuckets => buckets(destination, &destination.ranges),
        Kind::DestinationObjects => objects(destination, &destination.ranges),
        Kind::WorkList => work_list(input, objects),
        Kind::ReportBucket => buckets(destination, report),
        Kind::ReportObjects => objects(destination, report),
        Kind::SourceKey => key(source),
        Kind::DestinationKey => key(destination),
        Kind::Queue => queue(|queue| &queue.name),
        Kind::DeadLetters => queue(|queue| &queue.dead_letters),
        Kind::Table => {
            let arn = input.table.as_ref().map(|table| {
                arn::of("dynamodb", &partition(&table.region), &table.region, account, &format!("table/{}", table.name))
            });
            arn.into_iter().collect()
        }
        Kind::Topic => input.settings.topic.iter().map(|topic| topic.arn.clone()).collect(),
    }
}

/// Returns the ARN of a queue. The account in its URL counts more than the one given.
pub fn queue_arn(input: &Input, queue: &QueueNames, name: &str) -> String {
    let partition = input.partition.as_deref().unwrap_or_else(|| arn::partition(&queue.region));
    let account = queue.account.as_deref().or(input.account.as_deref());
    arn::of("sqs", partition, &queue.region, account, name)
}

fn work_list(input: &Input, objects: impl Fn(&Side, &[Range]) -> Vec<String>) -> Vec<String> {
    let Some((side, files)) = &input.settings.work_list else { return Vec::new() };
    let side = match side {
        BucketSide::Source => &input.source,
        BucketSide::Destination => &input.destination,
    };
    let mut arns = objects(side, files);
    // The list itself is one object.
    if let Some(list) = arns.first_mut() {
        list.truncate(list.len() - "*".len());
    }
    arns
}

/// An alias is not the resource of a key's operations; a condition names it.
/// Source: "Using aliases to control access to KMS keys" in the KMS developer guide.
fn condition(kind: Kind, input: &Input) -> Option<Value> {
    let key = match kind {
        Kind::SourceKey => input.source.kms_key.as_deref()?,
        Kind::DestinationKey => input.destination.kms_key.as_deref()?,
        _ => return None,
    };
    let alias = arn::alias(key)?;
    Some(json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": alias } }))
}
