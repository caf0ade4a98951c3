//! The steps against an API server in memory.

mod access;
pub mod api_server;
mod apply;
mod autoscalers;
pub mod aws;
mod budget;
mod events;
mod frozen;
mod load;
mod notify;
mod preflight;
mod reconcile;
mod runs;
mod scale;

use std::sync::Arc;

use migration_api::MigrationJob;
use serde_json::{Value, json};

use crate::job_controller::dereference::cluster::Cluster;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::dereference::{Fresh, Known, Observed};
use crate::job_controller::validate::run_configs::RunConfigs;
use crate::job_controller::validate::tests::{resource, validated};

/// A job whose queue and ledger answered, in a cluster.
pub fn observed(cluster: Cluster) -> Observed {
    Observed {
        secrets_version: None,
        tried_secrets_version: None,
        ignore_patterns: Some(Vec::new()),
        ca_bundles: None,
        cluster: Arc::new(cluster),
        refusals: Vec::new(),
        services: None,
        depth: None,
        ledger: Some(Arc::new(LedgerView::default())),
        sharing: None,
        over_budget: None,
        problems: Vec::new(),
        is_refused: false,
        awaits_messages: false,
        fresh: Fresh { cluster: true, ledger: true },
        known: Known::default(),
    }
}

/// The configurations of the job of [`resource`], changed.
fn configs(change: impl FnOnce(&mut MigrationJob)) -> RunConfigs {
    let next = Arc::new(validated(change));
    RunConfigs { last: next.clone(), next, edited: None }
}

/// The job of [`resource`] as the API server keeps it, changed.
pub fn stored(change: impl FnOnce(&mut MigrationJob)) -> Value {
    let mut job = resource();
    change(&mut job);
    serde_json::to_value(job).unwrap()
}

/// An object of somebody else.
pub fn foreign(version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "media", "uid": "foreign"}})
}
