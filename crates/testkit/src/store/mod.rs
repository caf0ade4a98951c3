//! S3 in memory: the service of `migration-local`, with switches that deny requests and what tests observe and change
//! past its checks.

mod foreign;
mod object;
mod port;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use migration_core::ports::Capabilities;
use migration_local::store::LocalStore;

use crate::clock::TestClock;
use crate::denial::Denials;
use crate::lock;

pub use migration_local::store::{
    BucketSettings, Checksums, ConditionalWrites, StoreSettings, StreamedBodies, Versioning, crc64nvme,
};
pub use object::{StoredObject, WriteLogEntry};

/// An S3 service in memory, as one principal sees it. Clones and [`MemoryStore::as_principal`] share the objects.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    service: LocalStore,
    settings: Arc<StoreSettings>,
    clock: TestClock,
    denials: Denials,
    capabilities: Capabilities,
    /// How far the clock that the service tells is ahead, in milliseconds.
    clock_offset: Option<i64>,
    spoils_by_rejected: bool,
    /// Objects that became visible, by bucket.
    log: Arc<Mutex<BTreeMap<String, Vec<WriteLogEntry>>>>,
}

impl MemoryStore {
    /// Creates an empty service. `principal` becomes the initiator of uploads.
    pub fn new(clock: TestClock, principal: &str) -> Self {
        Self::with_settings(clock, principal, StoreSettings::default())
    }

    /// Creates an empty service with these settings.
    pub fn with_settings(clock: TestClock, principal: &str, settings: StoreSettings) -> Self {
        let service = LocalStore::in_memory(Arc::new(clock.clone()), settings.clone()).as_principal(principal);
        let log: Arc<Mutex<BTreeMap<String, Vec<WriteLogEntry>>>> = Arc::default();
        let written = log.clone();
        service.watch(move |bucket, key, object| {
            lock(&written).entry(bucket.to_owned()).or_default().push(WriteLogEntry::of(key, object));
        });
        let (denials, capabilities) = (Denials::default(), Capabilities::default());
        Self {
            service,
            settings: Arc::new(settings),
            clock,
            denials,
            capabilities,
            clock_offset: None,
            spoils_by_rejected: false,
            log,
        }
    }

    /// The same service as an adapter sees it that knows this of it.
    #[must_use]
    pub fn knowing(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// The same service, which tells a clock that is ahead by so many milliseconds.
    #[must_use]
    pub fn ahead_by(self, milliseconds: i64) -> Self {
        Self { clock_offset: Some(milliseconds), ..self }
    }

    /// The same service, which loses the bytes of an object if a PUT to its key is rejected for its Content-MD5 or its
    /// condition, and shows the object in listings and HEADs as before. `LocalStack` does so for Content-MD5.
    #[must_use]
    pub fn spoiling_by_rejected_puts(self) -> Self {
        Self { spoils_by_rejected: true, ..self }
    }

    /// Returns the same service for another principal, with its own switches.
    #[must_use]
    pub fn as_principal(&self, principal: &str) -> Self {
        Self { service: self.service.as_principal(principal), denials: Denials::default(), ..self.clone() }
    }

    /// Returns the switches that reject this principal's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }
}

#[cfg(test)]
mod tests;
