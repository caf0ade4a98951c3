//! What the adapters are run against: a server on this machine, and its buckets, queues and tables.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use migration_aws::{Access, CredentialSource, StaticKeys};
use migration_testkit::MiniStack;
use migration_testkit::conformance::Failure;

/// A name that no other case of this process has.
pub fn fresh(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Every service of a server, for the key that may do everything there.
pub fn access(server: &MiniStack) -> Access {
    let keys = StaticKeys { access_key_id: "test".into(), secret_access_key: "test".into(), session_token: None };
    Access {
        region: "us-east-1".into(),
        endpoint: Some(server.endpoint()),
        credentials: CredentialSource::Static(keys),
    }
}

/// Makes a bucket past the adapters, which can't, and gives its name.
pub async fn new_bucket(server: &MiniStack) -> Result<String, Failure> {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .build();
    let name = fresh("bucket");
    let created = aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&name).send().await;
    created.map_err(|error| Failure::new(format!("failed to create bucket {name}: {:?}", error.raw_response())))?;
    Ok(name)
}
