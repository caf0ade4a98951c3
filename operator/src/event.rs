//! What the events of a resource say.

use kube::runtime::events::{Event, EventType};
use migration_api::EventReason;

/// Longest note of an event, in bytes. Source: `Event.note` in the events.k8s.io API.
const LONGEST: usize = 1_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// Something a person should look at.
    pub warning: bool,
    /// Why the event was written.
    pub reason: EventReason,
    /// What was being done.
    pub action: &'static str,
    /// What happened.
    pub text: String,
}

impl JobEvent {
    /// Something that went as it should.
    pub fn normal(reason: EventReason, action: &'static str, text: impl Into<String>) -> Self {
        Self { warning: false, reason, action, text: text.into() }
    }

    /// Something a person should look at.
    pub fn warning(reason: EventReason, action: &'static str, text: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, action, text) }
    }

    /// As the recorder takes it.
    pub fn event(self) -> Event {
        let Self { warning, reason, action, mut text } = self;
        while text.len() > LONGEST {
            text.pop();
        }
        Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_string(),
            note: Some(text),
            action: action.to_owned(),
            secondary: None,
        }
    }
}
