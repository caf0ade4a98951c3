//! Tests of the programs `worker` and `jobsender` by themselves: plain processes of this machine against real servers of
//! S3, SQS and `DynamoDB`, each case with its own ones on free ports of the loopback address.

pub mod case;
pub mod cases;
pub mod config;
pub mod ledger;
pub mod services;
pub mod tools;
