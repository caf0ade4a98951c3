//! Servers for the adapters' tests, and their buckets, queues and tables.

pub mod wire;

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use migration_aws::{Access, CredentialSource, StaticKeys};
use migration_testkit::conformance::{BucketOwner, Failure};

/// Returns a name that no other case of this process uses.
pub fn fresh(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Access to every service of a server, with a key that may do everything.
pub fn access(endpoint: String) -> Access {
    let keys = StaticKeys { access_key_id: "test".into(), secret_access_key: "test".into(), session_token: None };
    Access { region: "us-east-1".into(), endpoint: Some(endpoint), credentials: CredentialSource::Static(keys) }
}

/// Plain client, for requests that the adapters don't have.
fn client(endpoint: String) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// Creates a bucket and returns its name.
pub async fn new_bucket(endpoint: String) -> Result<String, Failure> {
    let name = fresh("bucket");
    let created = client(endpoint).create_bucket().bucket(&name).send().await;
    created.map_err(|error| Failure::new(format!("failed to create bucket {name}: {:?}", error.raw_response())))?;
    Ok(name)
}

fn failed(what: &str, error: impl std::fmt::Debug) -> Failure {
    Failure::new(format!("failed to {what}: {error:?}"))
}

/// Changes made by the owner of a server's buckets, past the adapters.
pub struct Owner {
    client: aws_sdk_s3::Client,
}

impl Owner {
    /// Creates the owner of all buckets of a server.
    pub fn of(endpoint: String) -> Self {
        Self { client: client(endpoint) }
    }
}

impl BucketOwner for Owner {
    async fn set_versioning(&self, bucket: &str, enabled: bool) -> Result<(), Failure> {
        let status = if enabled { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
        let status = VersioningConfiguration::builder().status(status).build();
        let set = self.client.put_bucket_versioning().bucket(bucket).versioning_configuration(status);
        set.send().await.map(|_| ()).map_err(|error| failed("set versioning", error))
    }

    async fn new_locked_bucket(&self) -> Result<String, Failure> {
        let name = fresh("locked");
        let create = self.client.create_bucket().bucket(&name).object_lock_enabled_for_bucket(true);
        create.send().await.map_err(|error| failed("create bucket", error))?;
        Ok(name)
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<Option<String>, Failure> {
        let deleted = self.client.delete_object().bucket(bucket).key(key).send().await;
        Ok(deleted.map_err(|error| failed("delete object", error))?.version_id)
    }

    async fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> Result<(), Failure> {
        let delete = self.client.delete_object().bucket(bucket).key(key).version_id(version_id);
        delete.send().await.map(|_| ()).map_err(|error| failed("delete version", error))
    }
}
