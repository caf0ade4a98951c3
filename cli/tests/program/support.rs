//! Two servers, a manifest, and the program.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use migration_aws::SystemClock;
use migration_core::object::Attributes;
use migration_core::ports::{ObjectStore, PutRequest, WriteCondition};
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_s3_server::{Credentials, Server, ServerSettings};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The bucket to copy.
pub const FROM: &str = "originals";
/// The bucket to copy to.
pub const TO: &str = "copies";
/// Time for anything that a test waits for.
const PATIENCE: Duration = Duration::from_mins(2);

/// Two servers, and a directory for the program.
pub struct World {
    pub source: LocalStore,
    pub destination: LocalStore,
    source_server: Server,
    destination_server: Server,
    directory: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    /// Starts servers that take this long for a request.
    pub async fn start(latency: Duration) -> Self {
        let store = |bucket: &str| {
            let settings = StoreSettings { latency, ..StoreSettings::default() };
            let store = LocalStore::in_memory(Arc::new(SystemClock), settings);
            store.create_bucket(bucket, BucketSettings::default());
            store
        };
        let (source, destination) = (store(FROM), store(TO));
        let directory = tempfile::tempdir().unwrap();
        let (source_server, destination_server) = (serve(&source, "SOURCE").await, serve(&destination, "DEST").await);
        let world = Self { source, destination, source_server, destination_server, directory };
        world.write_manifest("job.yaml", &world.manifest(FROM, TO));
        world
    }

    /// Puts an object into the source.
    pub async fn put(&self, key: &str, body: Vec<u8>) {
        self.put_with(key, body, &Attributes::default()).await;
    }

    /// Puts an object with these attributes into the source.
    pub async fn put_with(&self, key: &str, body: Vec<u8>, attributes: &Attributes) {
        let put = PutRequest {
            bucket: FROM,
            key,
            md5: Md5::digest(&body).into(),
            body: body.into(),
            attributes,
            tags: &Vec::new(),
            condition: &WriteCondition::Any,
        };
        self.source.put(put).await.unwrap();
    }

    /// Returns a manifest with its Secrets.
    pub fn manifest(&self, from: &str, to: &str) -> String {
        let side = |server: &Server, secret: &str| {
            let url = server.url();
            format!(
                "{{region: us-east-1, endpoint: '{url}', pathStyle: true, credentials: {{secretRef: {{name: {secret}}}}}}}"
            )
        };
        let secret = |name: &str, keys: &str| {
            format!(
                "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{AWS_ACCESS_KEY_ID: {keys}, \
                 AWS_SECRET_ACCESS_KEY: {keys}-secret}}\n"
            )
        };
        format!(
            "apiVersion: s3migration.dev/v1alpha1\nkind: MigrationJob\nmetadata: {{name: job}}\nspec:\n  buckets: \
             [{{sourceBucket: {from}, destinationBucket: {to}}}]\n  source: {}\n  destination: {}\n  queue: {{region: \
             us-east-1}}\n  ledger: {{region: us-east-1}}\n{}{}",
            side(&self.source_server, "source"),
            side(&self.destination_server, "destination"),
            secret("source", "SOURCE"),
            secret("destination", "DEST"),
        )
    }

    /// Writes a file into the program's directory.
    pub fn write_manifest(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Returns the path of a file in the program's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the program.
    pub fn program(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3migrate"));
        let command = command.args(arguments).arg("--state-dir").arg(self.path("state"));
        let command = command.current_dir(self.directory.path()).env_remove("RUST_LOG").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.program(arguments)).await
    }

    /// Waits until this many objects are at the destination.
    pub async fn reaches(&self, objects: usize, run: &mut Child) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.destination.keys(TO).len() >= objects {
                return true;
            }
            if run.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(2)).await;
        }
        panic!("{objects} objects never arrived");
    }

    /// Checks that the destination holds what the source holds, and that nothing is left open.
    pub fn assert_whole(&self) {
        assert_eq!(self.destination.keys(TO), self.source.keys(FROM));
        for key in self.source.keys(FROM) {
            let content = |store: &LocalStore, bucket| store.object(bucket, &key, None).unwrap().content.in_memory();
            assert!(content(&self.source, FROM) == content(&self.destination, TO), "{key}");
        }
        assert_eq!(self.destination.open_uploads(TO), []);
    }
}

/// Waits for the end of a program.
pub async fn ended(child: Child) -> Ended {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn serve(store: &LocalStore, keys: &str) -> Server {
    let credentials = vec![Credentials { access_key: keys.to_owned(), secret_key: format!("{keys}-secret") }];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::start(ServerSettings { address, credentials, store: store.clone(), domains: Vec::new() }).await.unwrap()
}
