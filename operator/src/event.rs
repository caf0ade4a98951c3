//! Kubernetes Events about a `MigrationJob`.

use kube::runtime::events::{Event, EventType};
use migration_api::EventReason;
use migration_core::printable::printable;

/// The longest note of an event, in bytes. Source: `Event.note` in the events.k8s.io API.
const LONGEST: usize = 1_000;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// A person should look at it.
    pub warning: bool,
    /// Why the event was written.
    pub reason: EventReason,
    /// The action that caused it.
    pub action: &'static str,
    /// The note.
    pub text: String,
}

impl JobEvent {
    /// Creates an event of type Normal.
    pub fn normal(reason: EventReason, action: &'static str, text: impl Into<String>) -> Self {
        Self { warning: false, reason, action, text: text.into() }
    }

    /// Creates an event of type Warning.
    pub fn warning(reason: EventReason, action: &'static str, text: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, action, text) }
    }

    /// Converts it for the recorder, with a note that is not too long and that a terminal can show: it may have keys, and
    /// words of services.
    pub fn event(self) -> Event {
        let Self { warning, reason, action, text } = self;
        let mut text = printable(&text).into_owned();
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
