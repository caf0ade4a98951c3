//! The S3 server of the demo, in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use migration_aws::SystemClock;
use migration_local::store::{LocalStore, StoreSettings};
use migration_s3_server::{Credentials, Server, ServerSettings};

use crate::counts;

/// Settings of the server.
#[derive(Debug, Args)]
pub struct Settings {
    /// Port of this machine to listen on.
    #[arg(long)]
    port: u16,
    /// Port that tells how many requests came, by method.
    #[arg(long)]
    counts: u16,
    /// Access key. The secret key is in the environment variable `SECRET`.
    #[arg(long)]
    access: String,
    #[arg(long, env = "SECRET", hide = true, hide_env_values = true)]
    secret: String,
}

/// Serves until the process is ended.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let Settings { port, counts, access, secret } = settings;
    let store = LocalStore::in_memory(Arc::new(SystemClock), StoreSettings::default());
    let server = Server::start(ServerSettings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        credentials: vec![Credentials { access_key: access, secret_key: secret }],
        store,
        domains: Vec::new(),
    });
    let server = server.await?;
    let requests = server.requests();
    counts::tell(counts, move || serde_json::json!(requests.by_method()).to_string()).await?;
    std::future::pending().await
}
