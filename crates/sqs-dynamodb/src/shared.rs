//! A client that several adapters share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use migration_aws::Access;
use migration_aws::sdk::{self, SdkConfig};

use crate::guard::Guard;

/// A client, and the configuration that it shares with others. Clones are the same client.
pub(crate) struct Shared<C>(pub(crate) Arc<Held<C>>);

/// What the clones of a client hold.
pub(crate) struct Held<C> {
    client: C,
    /// Kept for the credentials that clients of other services share through it.
    #[allow(dead_code, reason = "it keeps the credentials alive; only tests read it")]
    pub(crate) config: Arc<SdkConfig>,
}

impl<C> Shared<C> {
    /// Makes a client that nobody else uses.
    pub(crate) async fn alone(access: &Access, make: fn(&SdkConfig, &Access, &Guard) -> C) -> Self {
        Self::new(Arc::new(sdk::load(access).await), |config| make(config, access, &Guard::default()))
    }

    pub(crate) fn new(config: Arc<SdkConfig>, make: impl FnOnce(&SdkConfig) -> C) -> Self {
        Self(Arc::new(Held { client: make(&config), config }))
    }
}

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Deref for Shared<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.client
    }
}

impl<C: fmt::Debug> fmt::Debug for Shared<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.client.fmt(f)
    }
}
