//! Cases of the short and the long tests.

pub mod admission;
pub mod chart;
pub mod checking;
pub mod cluster_commands;
pub mod crash_recovery;
pub mod credentials;
pub mod deletion;
pub mod editing;
pub mod events;
pub mod history;
pub mod kills;
pub mod leader;
pub mod lists;
pub mod migration;
pub mod namespaces;
pub mod neighbours;
pub mod pod_settings;
pub mod policy;
pub mod preflight;
pub mod prerequisites;
pub mod races;
pub mod refusals;
pub mod requests;
pub mod scaling;
pub mod upgrade;
