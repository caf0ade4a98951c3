//! The two S3 servers of the demo, in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use migration_aws::SystemClock;
use migration_core::error::ServiceError;
use migration_core::ports::{ObjectStore, PutRequest, WriteCondition};
use migration_core::size::human;
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_s3_server::{Credentials, Server, ServerSettings, StartError};
use rand::Rng;
use rand::distr::Alphanumeric;

use super::DemoError;
use super::tree::{Tree, md5};

/// The bucket to copy.
pub const BUCKET_FROM: &str = "demo-from";
/// The bucket that it is copied to.
pub const BUCKET_TO: &str = "demo-to";
/// Part of the objects that is copied when the run is killed: one in this many.
const MIDDLE: usize = 3;

/// Failures of the servers.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// A server could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An object could not be put.
    #[error("failed to put {key:?}: {source}")]
    Put {
        /// Its key.
        key: String,
        /// Cause.
        source: Box<ServiceError>,
    },
}

/// The servers, with their stores and keys.
pub struct Servers {
    /// The server to copy from.
    pub source: Server,
    /// The server to copy to.
    pub destination: Server,
    /// Access key and secret key of the source.
    pub source_keys: (String, String),
    /// Access key and secret key of the destination.
    pub destination_keys: (String, String),
    from: LocalStore,
    to: LocalStore,
}

impl Servers {
    /// Starts both on free ports of this machine.
    pub async fn start() -> Result<Self, ServersError> {
        let (from, to) = (store(BUCKET_FROM), store(BUCKET_TO));
        let (source_keys, destination_keys) = (keys(), keys());
        Ok(Self {
            source: serve(&from, &source_keys).await?,
            destination: serve(&to, &destination_keys).await?,
            source_keys,
            destination_keys,
            from,
            to,
        })
    }

    /// Puts the objects into the source, and returns their number and size in words.
    pub async fn fill(&self, tree: &Tree) -> Result<String, DemoError> {
        let mut bytes = 0;
        for object in tree.objects() {
            let body = object.body()?;
            bytes += body.len() as u64;
            let put = PutRequest {
                bucket: BUCKET_FROM,
                key: &object.key,
                md5: md5(&body),
                body,
                attributes: &object.attributes,
                tags: &object.tags,
                condition: &WriteCondition::Any,
            };
            let written = self.from.put(put).await;
            written.map_err(|source| ServersError::Put { key: object.key.clone(), source: Box::new(source) })?;
        }
        Ok(format!("{} objects of {}", tree.objects().len(), human(bytes)))
    }

    /// Returns true once a part of the objects is copied, and a large object is under way if there is one left.
    pub fn is_in_the_middle(&self) -> bool {
        let (all, there) = (self.from.keys(BUCKET_FROM).len(), self.to.keys(BUCKET_TO).len());
        there * MIDDLE >= all && (!self.to.open_uploads(BUCKET_TO).is_empty() || there * 2 >= all)
    }

    /// Returns how much is copied, in words.
    pub fn progress(&self) -> String {
        format!("{} of {} objects", self.to.keys(BUCKET_TO).len(), self.from.keys(BUCKET_FROM).len())
    }

    /// Compares what the two servers hold, without any request, and returns the number of objects in words.
    pub fn compare(&self) -> Result<String, DemoError> {
        let keys = self.from.keys(BUCKET_FROM);
        if self.to.keys(BUCKET_TO) != keys {
            return Err(DemoError::Different("they hold different keys".to_owned()));
        }
        for key in &keys {
            let differs = |what: &str| DemoError::Different(format!("{what} of {key:?} differ"));
            let objects = self.from.object(BUCKET_FROM, key, None).zip(self.to.object(BUCKET_TO, key, None));
            let Some((from, to)) = objects else { return Err(differs("versions")) };
            if from.content.in_memory() != to.content.in_memory() {
                return Err(differs("bytes"));
            }
            if from.attributes != to.attributes || from.tags != to.tags {
                return Err(differs("attributes or tags"));
            }
        }
        let open = self.to.open_uploads(BUCKET_TO).len();
        if open > 0 {
            return Err(DemoError::Different(format!("{open} multipart uploads were left open")));
        }
        Ok(format!("{} objects", keys.len()))
    }
}

fn store(bucket: &str) -> LocalStore {
    let store = LocalStore::in_memory(Arc::new(SystemClock), StoreSettings::default());
    store.create_bucket(bucket, BucketSettings::default());
    store
}

async fn serve(store: &LocalStore, (access_key, secret_key): &(String, String)) -> Result<Server, StartError> {
    let credentials = vec![Credentials { access_key: access_key.clone(), secret_key: secret_key.clone() }];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::start(ServerSettings { address, credentials, store: store.clone(), domains: Vec::new() }).await
}

/// Returns a random pair of keys in the form of Amazon's.
fn keys() -> (String, String) {
    let random = |length| rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect::<String>();
    (format!("DEMO{}", random(16).to_ascii_uppercase()), random(40))
}
