//! Notifications that are not delivered yet.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::runs::RunSummary;
use crate::notify::NotifyEvent;

/// What was announced, and what is to be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationsStatus {
    /// The last run whose end was announced, or that had ended before spec.notify was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_run: Option<String>,
    /// The condition Degraded was announced, and its end was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announced_degraded: bool,
    /// Events that a receiver does not have yet, at most 8, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingEvent>,
    /// The last event that was given up. Absent once its receiver takes another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
}

/// An event that a receiver does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingEvent {
    /// Identifier of the event, the same at each attempt.
    pub id: String,
    /// The event.
    pub event: NotifyEvent,
    /// Time of the event.
    pub time: Time,
    /// Reason of the condition, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The event in words.
    pub message: String,
    /// The run, if one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSummary>,
    /// The receivers that don't have it.
    pub deliveries: Vec<Delivery>,
}

/// A delivery that is to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The receiver.
    pub to: Receiver,
    /// Attempts that failed.
    pub attempts: u32,
    /// Time of the next attempt.
    pub next_attempt_at: Time,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GivenUp {
    /// Identifier of the event.
    pub id: String,
    /// The event.
    pub event: NotifyEvent,
    /// The receiver that does not have it.
    pub to: Receiver,
    /// Time at which it was given up.
    pub at: Time,
    /// Why the last attempt failed.
    pub last_error: String,
}

/// A receiver of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Receiver {
    /// spec.notify.webhook.
    Webhook,
    /// spec.notify.sns.
    Sns,
}

impl Receiver {
    /// All receivers.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Sns];

    /// Returns the name, as in the specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Sns => "sns",
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
