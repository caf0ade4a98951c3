//! Logs of a job's pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs of the workers and jobsenders. A variable LOG_FORMAT, LOG_LEVEL, TRANSFER_LINES or RUST_LOG in worker.env and
/// jobsender.env overrides them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// `Json`: one object per line. `Text`: one line of text per record. Absent = as the operator's log, the chart's
    /// logFormat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,

    /// Least important records. `Error`: what failed for good. `Warn`: and what needs attention. `Info`: and changes of
    /// state. `Debug`: and each object. Absent = as the operator's log, the chart's logLevel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,

    /// Lines with the bytes of each download, upload and verified write, in which the CloudWatch metric filters of "Amazon
    /// S3 resumable upload" find their fields. `Cluster`: for the filters of its EC2 instances. `Serverless`: for those
    /// of its Lambda functions. Warnings are then called WARNING, as its filters expect. Absent = no such lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_lines: Option<TransferLines>,
}

/// Format of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "described at the field")]
pub enum LogFormat {
    Json,
    Text,
}

/// Least important records of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "described at the field")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Form of lines about transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "described at the field")]
pub enum TransferLines {
    Cluster,
    Serverless,
}

impl LogFormat {
    /// Returns the value of the programs' variable LOG_FORMAT.
    pub const fn as_variable(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl LogLevel {
    /// Returns the value of the programs' variable LOG_LEVEL.
    pub const fn as_variable(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl TransferLines {
    /// Returns the value of the programs' variable TRANSFER_LINES.
    pub const fn as_variable(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Serverless => "serverless",
        }
    }
}
