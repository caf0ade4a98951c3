//! Reasons of Kubernetes Events about a job. Scripts may rely on their names.

use std::fmt;

use crate::conditions::Reason;
use crate::status::Phase;

/// Why an event was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// A condition changed for this reason.
    Condition(Reason),
    /// The condition Degraded holds, for the reason that stands in the status.
    Degraded(String),
    /// The job entered this phase.
    Phase(Phase),
    /// A run started.
    RunStarted,
    /// `spec.suspend` is false again.
    Resumed,
    /// The condition Degraded no longer holds.
    Recovered,
    /// The first workers were requested.
    ScaledUp,
    /// The last worker was dismissed.
    ScaledToZero,
    /// Queue or table could not be removed with the resource.
    ResourcesLeft,
    /// Unfinished uploads could not be aborted when the resource was deleted.
    UploadsLeft,
    /// Notification entries of source buckets could not be removed when the resource was deleted.
    NotificationsLeft,
    /// Pods had not ended when the resource was removed.
    PodsLeft,
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition(reason) => return reason.fmt(f),
            Self::Degraded(reason) => reason,
            Self::Phase(phase) => phase.as_str(),
            Self::RunStarted => "RunStarted",
            Self::Resumed => "Resumed",
            Self::Recovered => "Recovered",
            Self::ScaledUp => "ScaledUp",
            Self::ScaledToZero => "ScaledToZero",
            Self::ResourcesLeft => "ResourcesLeft",
            Self::UploadsLeft => "UploadsLeft",
            Self::NotificationsLeft => "NotificationsLeft",
            Self::PodsLeft => "PodsLeft",
        })
    }
}
