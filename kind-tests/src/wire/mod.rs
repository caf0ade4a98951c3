//! Tests of the programs `worker` and `jobsender` by themselves, as local processes against real servers of S3, SQS and
//! DynamoDB. Each case has its own servers on free loopback ports.

pub mod case;
pub mod cases;
pub mod config;
pub mod ledger;
pub mod services;
pub mod tools;
