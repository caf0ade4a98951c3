//! The first step: what stands behind the resource's references, inside the cluster and outside.

pub mod cluster;
pub mod ledger;
pub mod secrets;
pub mod services;
