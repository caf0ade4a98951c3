//! Clients that many jobs share: one per service, region, endpoint and identity, for as long as something uses it.
//!
//! Clients of one region and identity share their credentials too, whatever their services and endpoints: a role is
//! assumed once for all of them.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use migration_aws::Access;
use migration_aws::sdk::{self, SdkConfig};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::dynamo::{self, DynamoLedger};
use crate::guard::Guard;
use crate::queue_admin::QueueAdmin;
use crate::shared::{Held, Shared};
use crate::sns::{self, SnsTopic};
use crate::sqs::{self, SqsQueue};
use crate::table_admin::TableAdmin;

/// The most entries of one kind. Beyond it clients are made and not shared.
const MOST: usize = 1_024;

/// Identifies an access. A digest, so that no map holds a secret as its key.
type AccessDigest = [u8; 32];

/// Makes clients, and shares those of equal [`Access`]. Keeps none alive: a client that nothing uses any more is gone.
#[derive(Default)]
pub struct Clients(Mutex<Known>, Guard);

#[derive(Default)]
struct Known {
    configs: HashMap<AccessDigest, Weak<SdkConfig>>,
    queues: HashMap<AccessDigest, Weak<Held<aws_sdk_sqs::Client>>>,
    tables: HashMap<AccessDigest, Weak<Held<aws_sdk_dynamodb::Client>>>,
    topics: HashMap<AccessDigest, Weak<Held<aws_sdk_sns::Client>>>,
}

impl Clients {
    /// Creates none yet. What writes queues and tables, their messages and records is sent only while the guard allows it.
    pub fn guarded(guard: Guard) -> Self {
        Self(Mutex::default(), guard)
    }

    /// Returns a client for any queue, dead letter queues included. Sends no request. Without a dead letter URL,
    /// `send_dead_letter` fails.
    pub async fn queue(&self, access: &Access, url: String, dead_letter_url: Option<String>) -> SqsQueue {
        SqsQueue::with(self.sqs(access).await, url, dead_letter_url)
    }

    /// Returns a client that creates, inspects and deletes queues. Sends no request.
    pub async fn queue_admin(&self, access: &Access) -> QueueAdmin {
        QueueAdmin::with(self.sqs(access).await)
    }

    /// Returns a client for a ledger. Sends no request.
    pub async fn ledger(&self, access: &Access, table: String) -> DynamoLedger {
        DynamoLedger::with(self.dynamo(access).await, table)
    }

    /// Returns a client that creates, inspects and deletes tables. Sends no request.
    pub async fn table_admin(&self, access: &Access) -> TableAdmin {
        TableAdmin::with(self.dynamo(access).await)
    }

    /// Returns a client that publishes to a topic. Sends no request.
    pub async fn topic(&self, access: &Access, arn: String) -> SnsTopic {
        let mut known = self.0.lock().await;
        let Known { configs, topics, .. } = &mut *known;
        let client = shared(topics, configs, access, |config| sns::client(config, access, &self.1)).await;
        SnsTopic::with(client, arn)
    }

    async fn sqs(&self, access: &Access) -> Shared<aws_sdk_sqs::Client> {
        let mut known = self.0.lock().await;
        let Known { configs, queues, .. } = &mut *known;
        shared(queues, configs, access, |config| sqs::client(config, access, &self.1)).await
    }

    async fn dynamo(&self, access: &Access) -> Shared<aws_sdk_dynamodb::Client> {
        let mut known = self.0.lock().await;
        let Known { configs, tables, .. } = &mut *known;
        shared(tables, configs, access, |config| dynamo::client(config, access, &self.1)).await
    }
}

/// Returns the client of an access, made now unless it is in use.
async fn shared<C>(
    clients: &mut HashMap<AccessDigest, Weak<Held<C>>>,
    configs: &mut HashMap<AccessDigest, Weak<SdkConfig>>,
    access: &Access,
    make: impl FnOnce(&SdkConfig) -> C,
) -> Shared<C> {
    let key = digest(access);
    if let Some(held) = clients.get(&key).and_then(Weak::upgrade) {
        return Shared(held);
    }
    // The endpoint does not change who calls, nor where the credentials come from.
    let identity = digest(&Access { endpoint: None, ..access.clone() });
    let config = if let Some(config) = configs.get(&identity).and_then(Weak::upgrade) {
        config
    } else {
        let config = Arc::new(sdk::load(access).await);
        remember(configs, identity, Arc::downgrade(&config));
        config
    };
    let client = Shared::new(config, make);
    remember(clients, key, Arc::downgrade(&client.0));
    client
}

/// Adds an entry, and removes those that nothing uses. Adds none to a map that is full of used ones.
fn remember<T>(map: &mut HashMap<AccessDigest, Weak<T>>, key: AccessDigest, value: Weak<T>) {
    map.retain(|_, known| known.strong_count() > 0);
    if map.len() < MOST {
        map.insert(key, value);
    }
}

/// Returns the digest of an access.
fn digest(access: &Access) -> AccessDigest {
    let mut hasher = Digesting(Sha256::new());
    access.hash(&mut hasher);
    hasher.0.finalize().into()
}

/// Feeds what is hashed to SHA-256. `Hash` of strings ends each with a byte that no string contains.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never used: the digest is taken from the state.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_aws::{CredentialSource, StaticKeys};

    fn access(endpoint: &str, secret: &str) -> Access {
        let keys = StaticKeys { access_key_id: "A".into(), secret_access_key: secret.into(), session_token: None };
        Access {
            region: "eu-west-1".into(),
            endpoint: Some(endpoint.into()),
            credentials: CredentialSource::Static(keys),
        }
    }

    #[tokio::test]
    async fn jobs_of_one_identity_and_endpoint_share_a_client() {
        let clients = Clients::default();
        let (first, same) = (clients.sqs(&access("http://a", "s")).await, clients.sqs(&access("http://a", "s")).await);
        assert!(Arc::ptr_eq(&first.0, &same.0));
        for other in [access("http://b", "s"), access("http://a", "t")] {
            assert!(!Arc::ptr_eq(&first.0, &clients.sqs(&other).await.0), "{other:?}");
        }
    }

    #[tokio::test]
    async fn queue_and_ledger_of_one_identity_load_credentials_once() {
        let clients = Clients::default();
        let queue = clients.sqs(&access("http://sqs", "s")).await;
        let ledger = clients.dynamo(&access("http://dynamodb", "s")).await;
        assert!(Arc::ptr_eq(&queue.0.config, &ledger.0.config));
        let other = clients.dynamo(&access("http://dynamodb", "t")).await;
        assert!(!Arc::ptr_eq(&queue.0.config, &other.0.config));
    }

    #[tokio::test]
    async fn clients_that_nothing_uses_are_dropped() {
        let clients = Clients::default();
        let first = clients.sqs(&access("http://a", "s")).await;
        let (client, config) = (Arc::downgrade(&first.0), Arc::downgrade(&first.0.config));
        drop(first);
        assert_eq!((client.strong_count(), config.strong_count()), (0, 0));
        let _second = clients.sqs(&access("http://b", "s")).await;
        assert_eq!(clients.0.lock().await.queues.len(), 1, "the entry went too");
    }

    #[tokio::test]
    async fn their_number_is_bounded() {
        let clients = Clients::default();
        let mut used = Vec::new();
        for n in 0..MOST + 3 {
            used.push(clients.sqs(&access(&format!("http://{n}"), "s")).await);
        }
        let known = clients.0.lock().await;
        assert_eq!((known.queues.len(), known.configs.len()), (MOST, 1));
    }
}
