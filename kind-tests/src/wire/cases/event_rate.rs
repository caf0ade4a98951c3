//! Events a second, what they cost in the ledger, and that each counts once.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use md5::{Digest as _, Md5};
use rand::seq::SliceRandom as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::programs::{self, Program};
use crate::proxy::Proxy;
use crate::proxy::log::Log;
use crate::report::{self, Row, Suite};
use crate::seeded;
use crate::services::messages;
use crate::tree::Object;
use crate::tree::upload::{create_bucket, put_all};
use crate::wait::until;
use crate::wire::case::create_queues;
use crate::wire::config::{self, DESTINATION, Endpoints, SOURCE, Settings};
use crate::wire::ledger::Ledger;
use crate::wire::services::{Kind, Server};
use crate::{checker, paths};

/// Objects, each of which has an event.
const OBJECTS: usize = 6_000;
/// Bytes of each.
const SIZE: usize = 1_024;
const LIMIT: Duration = Duration::from_mins(5);
const INTERVAL: Duration = Duration::from_millis(50);
const NAME: &str = "event_rate";

/// Measures without duplicates, and with three events of ten delivered a second time in other messages.
pub async fn run_all() -> anyhow::Result<()> {
    let began = Instant::now();
    let directory = paths::cache()?.join("wire").join(format!("{NAME}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let mut notes = Vec::new();
    let mut result = Ok(());
    for percent in [0, 30] {
        match measure(&directory.join(percent.to_string()), percent).await {
            Ok(note) => {
                eprintln!("{NAME}: {note}");
                notes.push(note);
            }
            Err(error) => {
                notes.push(format!("{percent} % duplicates: {error:#}"));
                paths::keep_files(&directory.join(percent.to_string()), &paths::results()?.join(NAME))?;
                result = Err(error);
            }
        }
    }
    let row = Row { case: NAME.to_owned(), passed: result.is_ok(), seconds: began.elapsed().as_secs_f64(), notes };
    report::add(Suite::Wire, &row)?;
    eprint!("{}", report::table(&[row]));
    std::fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    result
}

/// The services of one measurement.
struct Services {
    s3: Server,
    queue: Server,
    ledger: Server,
    urls: (String, String),
}

async fn measure(directory: &Path, percent: usize) -> anyhow::Result<String> {
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    config::write_keys(&directory.join("keys"))?;
    let s3 = Server::start(Kind::VersityGw, "s3", directory).await?;
    let queue = Server::start(Kind::ElasticMq, "queue", directory).await?;
    let ledger = Server::start(Kind::DynamoDbLocal, "ledger", directory).await?;
    create_bucket(&s3.s3(), SOURCE).await?;
    create_bucket(&s3.s3(), DESTINATION).await?;
    let objects: Vec<_> =
        (0_u64..).take(OBJECTS).map(|n| Object::of_bytes(format!("events/{n:06}"), seeded::bytes(n, SIZE))).collect();
    put_all(&s3.s3(), SOURCE, &objects).await?;
    let urls = create_queues(&queue.sqs()).await?;
    let services = Services { s3, queue, ledger, urls };
    let table = Ledger::create_without_tags(services.ledger.endpoint()).await?;
    let sent = send(&services, percent).await?;

    let (log, mut proxies) = (Log::default(), JoinSet::new());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen")?;
    let counted = format!("http://{}", listener.local_addr().context("failed to listen")?);
    proxies.spawn(Proxy::new("ledger", services.ledger.address(), log.clone()).serve(listener));
    let mut worker = start(directory, &services, &counted)?;
    let began = Instant::now();
    drained(&services, &mut worker).await?;
    let seconds = began.elapsed().as_secs_f64();
    let requests = log.since(0, None).len();
    drop(worker);

    let counters = table.events().await?;
    let objects = OBJECTS as u64;
    ensure!(
        (counters.batches, counters.counts.done, counters.counts.failed) == (objects, objects, 0),
        "{} of {OBJECTS} events were counted, {} objects as copied and {} as failed",
        counters.batches,
        counters.counts.done,
        counters.counts.failed
    );
    ensure!(requests * 10 <= sent * 3, "{requests} requests to the ledger for {sent} events");
    let side = |bucket: &str| serde_json::json!({"endpoint": services.s3.endpoint(), "key": services.s3.keys().0, "secret": services.s3.keys().1, "bucket": bucket, "prefix": ""});
    let work = serde_json::json!({"source": side(SOURCE), "destination": side(DESTINATION), "ignore": []});
    let checked = checker::compare(&format!("wire-{NAME}"), &work)?;
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let (rate, each) = (sent as f64 / seconds, requests as f64 / sent as f64);
    Ok(format!(
        "{percent} % duplicates: {sent} events in {seconds:.1} s, {rate:.0} a second; {each:.3} requests to the ledger an \
         event; {} counted; {checked}",
        counters.batches
    ))
}

/// Fills the queue with an event of each object, and a second one of so many of a hundred, in random order.
async fn send(services: &Services, percent: usize) -> anyhow::Result<usize> {
    let mut numbers: Vec<usize> = (0..OBJECTS).chain((0..OBJECTS).filter(|n| n % 100 < percent)).collect();
    numbers.shuffle(&mut rand::rng());
    let client = services.queue.sqs();
    for chunk in numbers.chunks(10) {
        let entry = |(place, number): (usize, &usize)| {
            SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(event(*number)).build()
        };
        let entries = chunk.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
        let request = client.send_message_batch().queue_url(&services.urls.0).set_entries(Some(entries));
        let sent = request.send().await.context("failed to send events")?;
        ensure!(sent.failed().is_empty(), "the queue refused events");
    }
    Ok(numbers.len())
}

/// An event as S3 sends it. Source: "Event message structure" in the S3 user guide.
fn event(number: usize) -> String {
    let etag = hex::encode(Md5::digest(seeded::bytes(number as u64, SIZE)));
    serde_json::json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": crate::services::REGION,
        "eventTime": "2026-01-01T00:00:00.000Z", "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "s3-migration-wire-1",
            "bucket": {"name": SOURCE, "arn": format!("arn:aws:s3:::{SOURCE}")},
            "object": {"key": format!("events/{number:06}"), "size": SIZE, "eTag": etag, "sequencer": format!("{number:016X}")},
        },
    }]})
    .to_string()
}

fn start(directory: &Path, services: &Services, ledger: &str) -> anyhow::Result<Program> {
    let s3 = services.s3.endpoint();
    let endpoints = Endpoints {
        source: s3.clone(),
        source_proxy: String::new(),
        destination: s3,
        destination_proxy: String::new(),
        control: services.queue.endpoint(),
        queue: services.urls.0.clone(),
        dead_letters: services.urls.1.clone(),
    };
    let settings = Settings { files_per_worker: 32, ..Settings::default() };
    let file = directory.join("worker.yaml");
    config::write_for_events(&file, &directory.join("keys"), &endpoints, ledger, &settings)?;
    let mut command = Command::new(programs::own("worker")?);
    command.arg("--config").arg(file).args(["--name", "worker-1"]).env("RUST_LOG", "warn");
    Program::start("worker", directory, &mut command)
}

/// Waits until the queue is empty.
async fn drained(services: &Services, worker: &mut Program) -> anyhow::Result<()> {
    let client = services.queue.sqs();
    until("the queue to be empty", LIMIT, INTERVAL, async || {
        worker.check_running()?;
        Ok((messages(&client, &services.urls.0).await? == 0).then_some(()))
    })
    .await
}
