//! Configuration of the programs, as the operator would write it. Only this module knows its fields.

use migration_core::config::{ACCESS_KEY_FILE, CONFIG_VERSION, SECRET_KEY_FILE};
use serde_json::{Value, json};
use std::path::Path;

use anyhow::Context as _;

use super::services::KEYS;
use crate::services::REGION;

/// UID of the job in the ledger.
pub const JOB: &str = "wire";
/// Source bucket.
pub const SOURCE: &str = "wire-source";
/// Destination bucket.
pub const DESTINATION: &str = "wire-destination";
/// Name of the queue, and prefix of the dead letter queue's name.
pub const QUEUE: &str = "batches";
/// Name of the ledger's table.
pub const TABLE: &str = "ledger";

/// Settings of a case; sizes as in the resource, such as `16Mi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `transfer.partSize`.
    pub part_size: String,
    /// `transfer.multipartThreshold`.
    pub multipart_threshold: String,
    /// `transfer.splitThreshold`; `None` for the programs' default.
    pub split_threshold: Option<String>,
    /// `transfer.filesPerWorker`.
    pub files_per_worker: u32,
    /// `transfer.partsPerFile`.
    pub parts_per_file: u32,
    /// `transfer.memoryLimit`.
    pub memory_limit: String,
    /// `transfer.maxAttempts`.
    pub max_attempts: u32,
    /// `filters.ignore`.
    pub ignore: Vec<String>,
    /// `mirror.maxDeletes`; `None` without a mirror.
    pub mirror: Option<u64>,
}

impl Default for Settings {
    /// The resource's own defaults.
    fn default() -> Self {
        Self {
            part_size: "Auto".into(),
            multipart_threshold: "16Mi".into(),
            split_threshold: None,
            files_per_worker: 8,
            parts_per_file: 4,
            memory_limit: "256Mi".into(),
            max_attempts: 5,
            ignore: Vec::new(),
            mirror: None,
        }
    }
}

/// Addresses of the services for one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// S3 service of the source. Equal for all programs of a run, since programs reject a run with another source.
    pub source: String,
    /// Proxy for the program's requests to the source.
    pub source_proxy: String,
    /// S3 service of the destination.
    pub destination: String,
    /// Proxy for the program's requests to the destination.
    pub destination_proxy: String,
    /// SQS and DynamoDB.
    pub control: String,
    /// URL of the queue.
    pub queue: String,
    /// URL of the dead letter queue.
    pub dead_letters: String,
}

/// Writes the configuration of a program; `keys` is the directory of [`write_keys`].
pub fn write(file: &Path, keys: &Path, endpoints: &Endpoints, settings: &Settings) -> anyhow::Result<()> {
    let text = serde_yaml::to_string(&document(keys, endpoints, settings)).context("failed to write a config")?;
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

/// Writes the configuration of a worker that follows events, without proxies. Queue and ledger are services of their own.
pub fn write_for_events(
    file: &Path,
    keys: &Path,
    endpoints: &Endpoints,
    ledger: &str,
    settings: &Settings,
) -> anyhow::Result<()> {
    let mut document = document(keys, endpoints, settings);
    for side in ["source", "destination"] {
        document[side].as_object_mut().context("the config has no sides")?.remove("proxy");
    }
    document["ledger"]["endpoint"] = json!(ledger);
    document["events"] = json!({"types": "created"});
    // One service is both sides, and would copy by itself.
    document["transfer"]["mode"] = json!("Stream");
    let text = serde_yaml::to_string(&document).context("failed to write a config")?;
    std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

fn document(keys: &Path, endpoints: &Endpoints, settings: &Settings) -> Value {
    let service = |endpoint: &str| json!({"region": REGION, "endpoint": endpoint, "credentials": {"type": "directory", "path": keys}});
    let with = |mut service: Value, name: &str, value: Value| {
        service[name] = value;
        service
    };
    let side =
        |endpoint: &str, proxy: &str| with(with(service(endpoint), "pathStyle", json!(true)), "proxy", json!(proxy));
    let mut transfer = json!({
        "partSize": settings.part_size,
        "multipartThreshold": settings.multipart_threshold,
        "filesPerWorker": settings.files_per_worker,
        "partsPerFile": settings.parts_per_file,
        "memoryLimit": settings.memory_limit,
        "maxAttempts": settings.max_attempts,
    });
    if let Some(threshold) = &settings.split_threshold {
        transfer["splitThreshold"] = json!(threshold);
    }
    let queue = with(service(&endpoints.control), "url", json!(endpoints.queue));
    let document = json!({
        "version": CONFIG_VERSION,
        "job": {"namespace": "default", "name": JOB, "uid": JOB},
        "buckets": [{"sourceBucket": SOURCE, "destinationBucket": DESTINATION}],
        "source": side(&endpoints.source, &endpoints.source_proxy),
        "destination": side(&endpoints.destination, &endpoints.destination_proxy),
        "ignore": settings.ignore,
        "transfer": transfer,
        "queue": with(queue, "deadLetterUrl", json!(endpoints.dead_letters)),
        "ledger": with(service(&endpoints.control), "table", json!(TABLE)),
    });
    match settings.mirror {
        Some(most) => with(document, "mirror", json!({"maxDeletes": most})),
        None => document,
    }
}

/// Writes the access key of all services to files, as a mounted Secret has them.
pub fn write_keys(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    for (name, value) in [(ACCESS_KEY_FILE, KEYS.0), (SECRET_KEY_FILE, KEYS.1)] {
        std::fs::write(directory.join(name), value).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_read_it() {
        let endpoints = Endpoints {
            source: "http://s".into(),
            source_proxy: "http://sp".into(),
            destination: "http://d".into(),
            destination_proxy: "http://dp".into(),
            control: "http://c".into(),
            queue: "http://c/q".into(),
            dead_letters: "http://c/d".into(),
        };
        let document = document(Path::new("/keys"), &endpoints, &Settings::default());
        let config: migration_core::config::JobConfig = serde_json::from_value(document).unwrap();
        config.clone().validate().unwrap();
        assert_eq!(config.source.proxy.as_deref(), Some("http://sp"));
        assert_eq!(config.destination.proxy.as_deref(), Some("http://dp"));
        assert_eq!(config.queue.url, "http://c/q");
    }
}
