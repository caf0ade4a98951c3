//! S3 in memory.

mod body;
mod checks;
mod complete;
mod foreign;
mod listing;
mod object;
mod port;
mod read;
mod settings;
mod state;
mod traffic;
mod upload;
mod versions;

use std::sync::{Arc, Mutex};

use migration_core::ports::Capabilities;

use crate::clock::TestClock;
use crate::denial::Denials;

pub use object::{StoredObject, WriteLogEntry, crc64nvme};
pub use settings::{BucketSettings, Checksums, ConditionalWrites, StoreSettings, StreamedBodies, Versioning};
use state::StoreState;
use traffic::Traffic;

/// An S3 service in memory, as one principal sees it. Clones and [`MemoryStore::as_principal`] share the objects.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<StoreState>>,
    settings: Arc<StoreSettings>,
    clock: TestClock,
    principal: Arc<str>,
    denials: Denials,
    traffic: Traffic,
    capabilities: Capabilities,
}

impl MemoryStore {
    /// Creates an empty service. `principal` becomes the initiator of uploads.
    pub fn new(clock: TestClock, principal: &str) -> Self {
        Self::with_settings(clock, principal, StoreSettings::default())
    }

    /// Creates an empty service with these settings.
    pub fn with_settings(clock: TestClock, principal: &str, settings: StoreSettings) -> Self {
        Self {
            state: Arc::default(),
            settings: Arc::new(settings),
            clock,
            principal: principal.into(),
            denials: Denials::default(),
            traffic: Traffic::default(),
            capabilities: Capabilities::default(),
        }
    }

    /// The same service as an adapter sees it that knows this of it.
    #[must_use]
    pub fn knowing(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// Returns the same service for another principal, with its own switches.
    #[must_use]
    pub fn as_principal(&self, principal: &str) -> Self {
        Self { principal: principal.into(), denials: Denials::default(), ..self.clone() }
    }

    /// Returns the switches that reject this principal's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }
}

#[cfg(test)]
mod tests;
