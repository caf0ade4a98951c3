//! The manifest of the demo.

use super::servers::{BUCKET_FROM, BUCKET_TO, Servers};

/// Name of the job.
pub const JOB: &str = "demo";

/// Returns the manifest: a job and the two Secrets that it names.
pub fn manifest(servers: &Servers) -> String {
    let (source, destination) = (servers.source.url(), servers.destination.url());
    let secret = |name: &str, keys: &(String, String)| {
        let (access, secret) = keys;
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n  AWS_ACCESS_KEY_ID: {access}\n  \
             AWS_SECRET_ACCESS_KEY: {secret}\n"
        )
    };
    let side = |url: &str, keys: &str| {
        format!(
            "{{region: us-east-1, endpoint: '{url}', pathStyle: true, credentials: {{secretRef: {{name: {keys}}}}}}}"
        )
    };
    format!(
        "apiVersion: s3migration.dev/v1alpha1\nkind: MigrationJob\nmetadata: {{name: {JOB}}}\nspec:\n  buckets: \
         [{{sourceBucket: {BUCKET_FROM}, destinationBucket: {BUCKET_TO}}}]\n  source: {}\n  destination: {}\n  verify: \
         {{mode: Full, method: Read}}\n  queue: {{region: us-east-1}}\n  ledger: {{region: us-east-1}}\n{}{}",
        side(&source, "source-keys"),
        side(&destination, "destination-keys"),
        secret("source-keys", &servers.source_keys),
        secret("destination-keys", &servers.destination_keys),
    )
}
