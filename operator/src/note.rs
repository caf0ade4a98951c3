//! What the events of a resource say.

use kube::runtime::events::{Event, EventType};

/// Longest note of an event, in bytes. Source: `Event.note` in the events.k8s.io API.
const LONGEST: usize = 1_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Something a person should look at.
    pub warning: bool,
    /// Machine-readable.
    pub reason: String,
    /// What was being done.
    pub action: &'static str,
    /// What happened.
    pub text: String,
}

impl Note {
    /// Something that went as it should.
    pub fn normal(reason: &str, action: &'static str, text: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), action, text: text.into() }
    }

    /// Something a person should look at.
    pub fn warning(reason: &str, action: &'static str, text: impl Into<String>) -> Self {
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
            reason,
            note: Some(text),
            action: action.to_owned(),
            secondary: None,
        }
    }
}
