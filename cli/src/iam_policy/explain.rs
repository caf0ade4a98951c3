//! Says which request needs each action.

use std::fmt::Write as _;

use migration_core::permissions::Part;

use super::input::{Input, Settings, Side};
use super::policy::{Policy, Statement};

/// Returns a text that names, for each statement and action, the requests that need it and why.
pub fn explain(policy: &Policy, input: &Input) -> String {
    let mut text = format!("{}\n", policy.part.as_str());
    for Statement { kind, rules, resources, condition } in &policy.statements {
        let _ = writeln!(text, "  {}: {}", kind.sid(), resources.join(", "));
        if let Some(condition) = condition {
            let _ = writeln!(text, "    only if {condition}");
        }
        for rule in rules {
            let requests: Vec<_> = rule.requests.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "    {}: for {}: {}", rule.action, requests.join(", "), rule.reason);
        }
    }
    for note in notes(policy.part, input) {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// Returns what needs no action, or another's consent.
fn notes(part: Part, input: &Input) -> Vec<&'static str> {
    let of_side = |side: &Side| {
        let mut notes = vec!["if the buckets belong to another account, their bucket policies have to allow the same"];
        if side.role.is_some() {
            notes.push(
                "attach it to the role of credentials.assumeRole; the policy assume-role and the role's trust policy let \
                 the pods assume it",
            );
        }
        if side.requester_pays {
            notes.push("requester pays needs no action of its own: each request names the payer");
        }
        if side.kms_key.is_none() {
            notes.push(
                "no KMS key was named: buckets encrypted with a key of one's own need --source-kms-key or \
                 --destination-kms-key; the account's default key needs nothing",
            );
        }
        notes
    };
    match part {
        Part::Source => of_side(&input.source),
        Part::Destination => of_side(&input.destination),
        Part::Queue | Part::Ledger => {
            vec!["credentials named in spec.queue or spec.ledger are the operator's too: they need both policies"]
        }
        Part::Operator => of_operator(&input.settings),
    }
}

fn of_operator(settings: &Settings) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if settings.own_queue || settings.own_table {
        notes.push("names of what is created end in the job's UID; where it is unknown, a wildcard stands for it");
    }
    if let Some(topic) = &settings.topic {
        notes.push(if topic.has_credentials {
            "the keys of notify.sns.credentials need the statement Topic only, and the operator's other keys don't need it"
        } else {
            "messages are published with the keys of spec.queue, or with the operator's own identity where \
             policy.ownIdentity.topics lists the topic"
        });
        notes.push(
            "a topic encrypted with a KMS key of one's own needs kms:GenerateDataKey and kms:Decrypt on that key",
        );
    }
    notes
}
