//! A server with its store, and clients of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use migration_aws::{Access, CredentialSource, S3Store, StaticKeys};
use migration_core::config::WriteSettings;
use migration_core::error::Service;
use migration_core::ports::Clock;
use migration_local::store::{LocalStore, StoreSettings};
use migration_s3_server::{Credentials, Server, ServerSettings};

pub const ACCESS_KEY: &str = "AKIATEST";
pub const SECRET_KEY: &str = "secret/of+the test";

/// The time of the machine: signatures are checked against it.
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn random(&self) -> f64 {
        0.5
    }
}

pub fn in_memory(settings: StoreSettings) -> LocalStore {
    LocalStore::in_memory(Arc::new(MachineClock), settings)
}

pub fn on_disk(directory: &Path) -> LocalStore {
    LocalStore::open(directory, Arc::new(MachineClock), StoreSettings::default()).unwrap()
}

/// Returns a name that no other case of this process uses.
pub fn fresh(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

pub async fn serve(store: &LocalStore) -> Server {
    let credentials = Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() };
    let settings = ServerSettings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        credentials: vec![credentials],
        store: store.clone(),
        domains: Vec::new(),
    };
    Server::start(settings).await.unwrap()
}

pub fn access(url: String, access_key: &str, secret_key: &str) -> Access {
    let keys =
        StaticKeys { access_key_id: access_key.into(), secret_access_key: secret_key.into(), session_token: None };
    Access { region: "us-east-1".into(), endpoint: Some(url), credentials: CredentialSource::Static(keys) }
}

/// Returns the adapter as a client of a server.
pub async fn client(server: &Server) -> S3Store {
    let access = access(server.url(), ACCESS_KEY, SECRET_KEY);
    S3Store::with_access(&access, true, &WriteSettings::default(), Service::Destination).await
}
