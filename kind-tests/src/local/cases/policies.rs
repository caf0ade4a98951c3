//! The policies of `s3migrate iam-policy`, enforced by the services, and compared with the requests that were sent.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, VersioningConfiguration,
};
use futures::StreamExt as _;
use migration_core::permissions::Part;
use serde_json::{Value, json};

use crate::local::case::{Case, Ended, bucket, keys};
use crate::local::job::{Side, manifest};
use crate::local::permissions::{Grant, without};
use crate::proxy::delays::Delay;
use crate::proxy::log::Event;
use crate::seeded;
use crate::services::create_user_at;
use crate::tree::Object;
use crate::tree::upload::put_all;
use crate::wait::until;
use crate::wire::services::{Kind, Server};
use expected::SIDES;
use judge::{Ending, Findings, Observed, compare, judge, needing};
use way::{FROM, INTO, INVENTORY, KMS, LIST, LISTS, LOCKED, REPORTS, Way};

mod expected;
mod judge;
pub mod services;
mod way;

/// Key of an object that is sent in parts of 5 MiB, and its size.
const LARGE: (&str, usize) = ("a/large", 12 << 20);
const LIMIT: Duration = Duration::from_mins(3);
const INTERVAL: Duration = Duration::from_millis(20);
/// Time for which a run waits for a permission.
const PATIENCE: &str = "5s";
/// Number of runs at a time that lack an action.
const AT_ONCE: usize = 4;
/// Minimum age of what a mirror deletes, plus one second for truncation to whole seconds.
const CLEARLY_OLDER: Duration = Duration::from_secs(6);
/// Time for which objects are locked.
const LOCKED_FOR: Duration = Duration::from_hours(24);

/// The two services.
struct Services {
    source: Server,
    destination: Server,
}

impl Services {
    /// Returns where a side of a job is.
    fn of(&self, way: Way, of: Part) -> &Server {
        if way.place(of) == Part::Source { &self.source } else { &self.destination }
    }
}

/// A job whose users have the policies that were printed for it.
struct Job {
    name: String,
    way: Way,
    /// Bucket of the copies.
    to: String,
    /// The policy documents of source and destination.
    policies: [Value; 2],
    /// What the policies do not allow.
    lacks: Option<(Part, Grant)>,
}

impl Job {
    fn file(&self) -> String {
        format!("{}.yaml", self.name)
    }

    /// Returns the name of a side in the proxies' log.
    fn side(&self, of: Part) -> String {
        format!("{} of {}", of.as_str(), self.name)
    }

    /// Returns the requests of a side. Where both are one service, the bucket tells the sides apart.
    fn events(&self, case: &Case, of: Part) -> Vec<Event> {
        let side = self.side(self.way.place(of));
        let is_one = self.way.place(Part::Source) == Part::Destination;
        let is_its = |event: &&Event| {
            let is_source = event.request.bucket == self.way.bucket();
            event.side == side && (!is_one || is_source == (of == Part::Source))
        };
        case.log.look(0, |events| events.iter().filter(is_its).cloned().collect())
    }
}

/// Jobs with all that needs actions run with exactly the policies that are printed for them; each request that they
/// send is allowed, each action that is allowed was needed or has a reason, and without any one action the run fails or
/// has a reason not to.
pub async fn policies_are_enforced(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::CheckedMiniStack, "source").await?;
    let destination = case.server(Kind::CheckedMiniStack, "destination").await?;
    let services = Services { source, destination };
    fill(&services).await?;
    let mut found = Findings::default();
    let lacking = run_all(case, &services, &mut found).await?;
    // Only objects older than the scan are deleted.
    tokio::time::sleep(CLEARLY_OLDER).await;
    let ends: Vec<anyhow::Result<String>> =
        futures::stream::iter(&lacking).map(|job| run_without(case, job)).buffered(AT_ONCE).collect().await;
    found.add(ends);
    found.report(case)
}

/// Runs the jobs with all actions, and compares their requests with their policies. Returns jobs that lack an action each.
async fn run_all(case: &mut Case, services: &Services, found: &mut Findings) -> anyhow::Result<Vec<Job>> {
    let mut whole = Vec::new();
    for way in Way::ALL {
        whole.push(prepare(case, services, way, way.name(), None).await?);
    }
    tokio::time::sleep(CLEARLY_OLDER).await;
    for job in &whole {
        run_whole(case, services, job).await.with_context(|| format!("the job {} failed", job.name))?;
        let [source, destination] = SIDES.map(|of| job.events(case, of).len());
        found.notes.push(format!("{}: {source} requests to the source and {destination} to the destination", job.name));
    }
    let mut lacking = Vec::new();
    for of in SIDES {
        let mut observed = Vec::new();
        for job in &whole {
            observed.push(observe(case, job, of).await?);
        }
        found.wrong.extend(compare(of, &observed)?);
        for (grant, place) in needing(of, &observed)? {
            let name = format!("without-{}", lacking.len());
            lacking.push(prepare(case, services, whole[place].way, &name, Some((of, grant))).await?);
        }
    }
    Ok(lacking)
}

/// Creates the buckets and objects of all jobs.
async fn fill(services: &Services) -> anyhow::Result<()> {
    for service in [&services.source, &services.destination] {
        bucket(service, FROM).await?;
        versioned(service, FROM).await?;
        put_all(&service.s3(), FROM, &objects(1)).await?;
        put_all(&service.s3(), FROM, &objects(2)).await?;
        bucket(service, LISTS).await?;
    }
    bucket(&services.destination, REPORTS).await?;
    locked_bucket(&services.source, LOCKED).await?;
    for (key, size) in [LARGE, ("a/held", 10)] {
        put_protected(&services.source, key, seeded::bytes(1, size)).await?;
    }
    let rows = format!("{FROM},a/plain\n{FROM},a/tagged\n");
    let inventory = json!({
        "sourceBucket": FROM,
        "destinationBucket": format!("arn:aws:s3:::{LISTS}"),
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key",
        "files": [{"key": INVENTORY.1, "size": rows.len()}],
    });
    let inventory = [(INVENTORY.0, inventory.to_string()), (INVENTORY.1, rows.clone())];
    put_all(&services.source.s3(), LISTS, &inventory.map(|(key, text)| Object::of_bytes(key, text))).await?;
    put_all(&services.destination.s3(), LISTS, &[Object::of_bytes(LIST, rows)]).await
}

/// Returns the objects of most jobs; those of another seed have other bytes.
fn objects(seed: u64) -> Vec<Object> {
    let mut tagged = Object::of_bytes("a/tagged", format!("with tags and metadata, {seed}"));
    tagged.tags = vec![("team".into(), "data and storage".into())];
    tagged.metadata.insert("comment".into(), "of its owner".into());
    vec![
        Object { key: "v/tagged".into(), ..tagged.clone() },
        tagged,
        Object::of_bytes("a/plain", format!("plain, {seed}")),
        Object::of_bytes(LARGE.0, seeded::bytes(seed, LARGE.1)),
        Object::of_bytes("z/outside", "not of the pair"),
    ]
}

/// Puts an object that is encrypted with a KMS key, and locked by retention and legal hold.
async fn put_protected(service: &Server, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let put = service.s3().put_object().bucket(LOCKED).key(key).body(ByteStream::from(bytes));
    let put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(KMS[0]);
    let put = put
        .object_lock_mode(ObjectLockMode::Governance)
        .object_lock_retain_until_date(DateTime::from(SystemTime::now() + LOCKED_FOR))
        .object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
    put.send().await.map(drop).with_context(|| format!("failed to put {key}"))
}

/// Creates a bucket whose objects can be locked; it has versions.
async fn locked_bucket(service: &Server, name: &str) -> anyhow::Result<()> {
    let made = service.s3().create_bucket().bucket(name).object_lock_enabled_for_bucket(true).send().await;
    made.map(drop).with_context(|| format!("failed to make bucket {name}"))
}

async fn versioned(service: &Server, name: &str) -> anyhow::Result<()> {
    let settings = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let put = service.s3().put_bucket_versioning().bucket(name).versioning_configuration(settings).send().await;
    put.map(drop).with_context(|| format!("failed to enable versions of {name}"))
}

/// Creates a job with its destination bucket, proxies, users and policies.
async fn prepare(
    case: &mut Case,
    services: &Services,
    way: Way,
    name: &str,
    lacks: Option<(Part, Grant)>,
) -> anyhow::Result<Job> {
    let policies = [Value::Null, Value::Null];
    let job = Job { name: name.to_owned(), way, to: format!("to-{name}"), policies, lacks };
    if way == Way::Protected {
        locked_bucket(&services.destination, &job.to).await?;
    } else {
        bucket(&services.destination, &job.to).await?;
        versioned(&services.destination, &job.to).await?;
    }
    if way == Way::Everything {
        let extraneous = Object::of_bytes("b/a/extraneous", "gone at the source");
        put_all(&services.destination.s3(), &job.to, &[extraneous]).await?;
    }
    let to = case.counted(&job.side(Part::Destination), &services.destination).await?;
    let from = match way.place(Part::Source) {
        Part::Source => case.counted(&job.side(Part::Source), &services.source).await?,
        _ => to.clone(),
    };
    let write = |keys: [(&str, &str); 2]| {
        let sides = (Side::new(&from, keys[0], way.bucket()), Side::new(&to, keys[1], &job.to));
        case.write(&job.file(), &manifest(name, &sides.0, &sides.1, way.fields(&job.to))?)
    };
    // The policies do not depend on keys.
    write([("none", "none"); 2])?;
    let mut policies = [policy(case, &job, Part::Source).await?, policy(case, &job, Part::Destination).await?];
    if let Some((of, grant)) = &job.lacks {
        policies[*of as usize] = without(&policies[*of as usize], grant)?;
    }
    let mut users = Vec::new();
    for of in SIDES {
        let service = services.of(way, of);
        // A side that lacks nothing has been seen to work.
        users.push(if job.lacks.as_ref().is_none_or(|(lacking, _)| *lacking == of) {
            let user = format!("{}-of-{name}", of.as_str());
            let key = create_user_at(&service.endpoint(), &user, &policies[of as usize])?;
            (key.id, key.secret)
        } else {
            let (id, secret) = service.keys();
            (id.to_owned(), secret.to_owned())
        });
    }
    let keys = |n: usize| (users[n].0.as_str(), users[n].1.as_str());
    write([keys(0), keys(1)])?;
    Ok(Job { policies, ..job })
}

async fn policy(case: &Case, job: &Job, of: Part) -> anyhow::Result<Value> {
    let printed = print(case, job, of, &[]).await?;
    serde_json::from_str(&printed).with_context(|| format!("failed to read the policy of the {}", of.as_str()))
}

async fn print(case: &Case, job: &Job, of: Part, flags: &[&str]) -> anyhow::Result<String> {
    let file = job.file();
    print_policy(case, &[&[of.as_str(), "--file", &file], job.way.flags(), flags].concat()).await
}

/// Returns what `s3migrate iam-policy` prints.
async fn print_policy(case: &Case, arguments: &[&str]) -> anyhow::Result<String> {
    let printed = case.s3migrate(&[&["iam-policy"], arguments].concat(), LIMIT).await?;
    printed.expect(0)?;
    Ok(printed.stdout)
}

async fn observe(case: &Case, job: &Job, of: Part) -> anyhow::Result<Observed> {
    let explained = print(case, job, of, &["--explain"]).await?;
    Ok(Observed { policy: job.policies[of as usize].clone(), events: job.events(case, of), explained })
}

/// Runs the job to its end. A job with a large object is killed while that is sent, and then the object changes.
async fn run_whole(case: &mut Case, services: &Services, job: &Job) -> anyhow::Result<()> {
    if job.way == Way::Everything {
        kill(case, job).await?;
        put_all(&services.source.s3(), FROM, &objects(3)).await?;
    }
    run(case, job).await?.expect(0)?;
    let found = keys(&services.destination, &job.to).await?;
    ensure!(found == job.way.copies(), "the copies are {found:?}");
    Ok(())
}

/// Runs the job until a part of the large object has arrived, and kills it.
async fn kill(case: &mut Case, job: &Job) -> anyhow::Result<()> {
    let key = format!("{INTO}{}", LARGE.0);
    let delay = |millis| Delay { bucket: job.to.clone(), operation: "UploadPart".into(), millis };
    case.log.delays.set(delay(500));
    let mut first = case.start(&["run", &job.file(), "--plain"])?;
    until("a part to be stored", LIMIT, INTERVAL, async || {
        first.check_running()?;
        let is_stored = |event: &Event| {
            (&*event.request.operation, &event.request.key, event.status) == ("UploadPart", &key, Some(200))
        };
        Ok(job.events(case, Part::Destination).iter().any(is_stored).then_some(()))
    })
    .await?;
    first.kill()?;
    case.log.delays.set(delay(0));
    Ok(())
}

async fn run(case: &Case, job: &Job) -> anyhow::Result<Ended> {
    case.s3migrate(&["run", &job.file(), "--json", "--patience", PATIENCE], LIMIT).await
}

/// Runs a job that lacks an action. Returns how it ends, or fails if that is not as expected.
async fn run_without(case: &Case, job: &Job) -> anyhow::Result<String> {
    let lacks = job.lacks.as_ref().context("the job lacks nothing")?;
    let Ended { code, stdout, stderr } = run(case, job).await?;
    let ending = Ending {
        has_failed: code != Some(0),
        events: job.events(case, lacks.0),
        told: stdout + &stderr,
        how: code.map_or_else(|| "a signal".to_owned(), |code| format!("exit {code}")),
    };
    judge(lacks, &job.policies[lacks.0 as usize], &ending)
}
