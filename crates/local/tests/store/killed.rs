//! A process that is killed while it writes leaves what it was answered, and nothing half.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::ports::{
    Attributes, Body, CompleteUpload, CompletedPart, CreateUpload, DeleteRequest, ListRequest, ObjectStore, PutPart,
    Tags, UploadRef, WriteCondition,
};
use migration_local::store::{BucketSettings, LocalStore};

use crate::{content, get, open, put};

/// Names the directory to write to in the process that is killed.
const DIRECTORY: &str = "STORE_TO_WRITE_TO";
/// Writers at the same time. Each has its own keys.
const WRITERS: u64 = 4;

/// A change of a key, as it is told on the standard output: before it is asked for, and when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Put { seed: u64, size: usize },
    Upload { seed: u64, size: usize },
    Delete,
}

impl Change {
    /// The n-th change of a writer.
    fn nth(writer: u64, n: u64) -> (String, Self) {
        let seed = writer * 1_000_000 + n;
        let key = format!("{writer}/{}", n % 5);
        let size = usize::try_from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47).unwrap();
        match n % 7 {
            3 => (key, Self::Delete),
            5 => (key, Self::Upload { seed, size: size + (6 << 20) }),
            _ => (key, Self::Put { seed, size }),
        }
    }

    /// The content of the key afterwards.
    fn content(self) -> Option<Bytes> {
        match self {
            Self::Put { seed, size } | Self::Upload { seed, size } => Some(content(seed, size)),
            Self::Delete => None,
        }
    }

    async fn run(self, store: &LocalStore, key: &str) {
        match self {
            Self::Put { .. } => drop(put(store, key, self.content().unwrap()).await.unwrap()),
            Self::Upload { .. } => upload(store, key, &self.content().unwrap()).await,
            Self::Delete => store.delete(DeleteRequest { bucket: "b", key, if_match: None }).await.unwrap(),
        }
    }
}

/// Uploads an object in two parts.
async fn upload(store: &LocalStore, key: &str, body: &Bytes) {
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Any);
    let create = CreateUpload { bucket: "b", key, attributes: &attributes, tags: &tags, checksum: false };
    let id = store.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "b", key, upload_id: &id };
    let mut parts = Vec::new();
    for (number, part) in [(1, body.slice(..5 << 20)), (2, body.slice(5 << 20..))] {
        let len = part.len() as u64;
        let pieces: Vec<_> = part.chunks(100_000).map(Bytes::copy_from_slice).map(Ok).collect();
        let body = Body::Streamed { stream: stream::iter(pieces).boxed(), len };
        let written = store.put_part(PutPart { upload, number, body, checksum: false }).await.unwrap();
        parts.push(CompletedPart { number, etag: written.etag, checksum: None });
    }
    store.complete_upload(CompleteUpload { upload, parts: &parts, condition: &condition }).await.unwrap();
}

/// Tells something on the standard output at once.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

/// Writes until the process is killed. `begun` is where the writers go on.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Some(argument) = std::env::var_os(DIRECTORY) else { return };
    let argument = argument.into_string().unwrap();
    let (begun, directory) = argument.split_once(':').unwrap();
    let begun: u64 = begun.parse().unwrap();
    let store = open(Path::new(directory));
    store.create_bucket("b", BucketSettings::default());
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        async move {
            for n in begun.. {
                let (key, change) = Change::nth(writer, n);
                tell(&format!("begin {writer} {n}"));
                change.run(&store, &key).await;
                tell(&format!("end {writer} {n}"));
            }
        }
    });
    futures::future::join_all(writers).await;
}

/// What may be in each key: the last change that was answered, and one that was begun after it.
type Expected = BTreeMap<String, Vec<Change>>;

/// Runs the process until it has told so many lines, kills it, and takes note of what it told.
fn write_and_kill(directory: &Path, begun: u64, lines: usize, expected: &mut Expected) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::writes_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, format!("{begun}:{}", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = 0;
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        // The harness itself tells something too, and the first words may stand behind its.
        let Some(at) = words.iter().position(|word| *word == "begin" || *word == "end") else { continue };
        let [what, writer, n] = words[at..] else { continue };
        let (key, change) = Change::nth(writer.parse().unwrap(), n.parse().unwrap());
        // Before its first change, a key is absent.
        let states = expected.entry(key).or_insert_with(|| vec![Change::Delete]);
        match what {
            "begin" => states.push(change),
            _ => *states = vec![change],
        }
        seen += 1;
        if seen == lines {
            child.kill().unwrap();
        }
    }
    assert!(seen >= lines, "the process ended by itself after {seen} lines");
    child.wait().unwrap();
}

/// Checks that each key has the content of a change that it may have, and settles on that.
async fn check(directory: &Path, expected: &mut Expected) {
    let store = open(directory);
    let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    let listed = store.list(request).await.unwrap().objects;
    assert!(listed.iter().all(|object| expected.contains_key(&object.key)), "{listed:?}");
    for (key, states) in expected {
        let found = get(&store, key).await.ok();
        let is = |state: &Change| state.content().as_deref() == found.as_deref();
        let len = found.as_ref().map(Vec::len);
        let state = states.iter().copied().find(is);
        assert!(state.is_some(), "{key} has {len:?} bytes: {states:?}");
        *states = state.into_iter().collect();
    }
}

#[tokio::test]
async fn what_was_answered_is_there_and_nothing_is_half() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Expected::new();
    for (round, lines) in [37, 5, 61, 112, 2, 83].into_iter().enumerate() {
        write_and_kill(directory.path(), round as u64 * 1_000, lines, &mut expected);
        check(directory.path(), &mut expected).await;
    }
    assert!(expected.values().any(|states| states[0] != Change::Delete), "{expected:?}");
}
