//! The policies of `s3migrate iam-policy`, enforced by the services, and compared with the requests that were sent.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::local::case::{Case, Ended, bucket, keys};
use crate::local::job::{Side, manifest};
use crate::local::permissions::{Grant, Policy, without};
use crate::proxy::log::{Delay, Event};
use crate::services::create_user_at;
use crate::tree::Object;
use crate::tree::upload::put_all;
use crate::wait::until;
use crate::wire::services::{Kind, Server};
use crate::wire::tools::seeded;
use expected::{NOT_SEEN, Of, SPARED, Without};

mod expected;

const FROM: &str = "policies-from";
const REPORTS: &str = "policies-reports";
/// Prefix of the copies.
const INTO: &str = "b/";
/// Key of an object that is sent in parts of 5 MiB, and its size.
const LARGE: (&str, usize) = ("a/large", 12 << 20);
const LIMIT: Duration = Duration::from_mins(3);
const INTERVAL: Duration = Duration::from_millis(20);
/// Time for which a run waits for a permission.
const PATIENCE: &str = "5s";
/// Status of a denied request.
const FORBIDDEN: u16 = 403;
/// Number of runs at a time that lack an action.
const AT_ONCE: usize = 4;
/// Minimum age of what a mirror deletes, plus one second for truncation to whole seconds.
const CLEARLY_OLDER: Duration = Duration::from_secs(6);

/// The two services.
struct Services {
    source: Server,
    destination: Server,
}

impl Services {
    fn of(&self, of: Of) -> &Server {
        match of {
            Of::Source => &self.source,
            Of::Destination => &self.destination,
        }
    }
}

/// A kind of job. There are two, since `MiniStack` sends the whole object for a part of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Copies large objects, deletes extraneous ones, writes a report and verifies.
    Everything,
    /// Copies versions of small objects.
    Versions,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Versions => "versions",
        }
    }

    /// Returns the prefix of the source's objects.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Everything => "a/",
            Self::Versions => "v/",
        }
    }

    /// Returns the keys after a run: others are deleted, or have another prefix.
    const fn copies(self) -> &'static [&'static str] {
        match self {
            Self::Everything => &["b/a/large", "b/a/plain", "b/a/tagged"],
            Self::Versions => &["b/v/tagged"],
        }
    }

    /// Returns the settings of the job.
    fn fields(self, to: &str) -> Value {
        let buckets = json!([{
            "sourceBucket": FROM, "sourcePrefix": self.prefix(), "destinationBucket": to, "destinationPrefix": INTO,
        }]);
        match self {
            Self::Everything => json!({
                "buckets": buckets,
                "transfer": {"partSize": "5Mi", "multipartThreshold": "5Mi"},
                "mirror": {"deleteExtraneous": true, "maxDeletes": 10},
                "report": {"bucket": REPORTS, "prefix": "reports/"},
                "verify": {"mode": "Full", "method": "Read"},
            }),
            Self::Versions => json!({
                "buckets": buckets,
                "versioning": {"compareVersionId": true, "updateVersionId": true, "getObjectWithVersionId": true},
            }),
        }
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
    lacks: Option<(Of, Grant)>,
}

impl Job {
    fn file(&self) -> String {
        format!("{}.yaml", self.name)
    }

    /// Returns the name of a side in the proxies' log.
    fn side(&self, of: Of) -> String {
        format!("{} of {}", of.name(), self.name)
    }

    /// Returns the requests of a side.
    fn events(&self, case: &Case, of: Of) -> Vec<Event> {
        let side = self.side(of);
        case.log.look(0, |events| events.iter().filter(|event| event.side == side).cloned().collect())
    }
}

/// A job with everything that needs actions runs with exactly the policies that are printed for it; each request that it
/// sends is allowed, each action that is allowed was needed or has a reason, and without any one action the run fails or
/// has a reason not to.
pub async fn policies_are_enforced(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::CheckedMiniStack, "source").await?;
    let destination = case.server(Kind::CheckedMiniStack, "destination").await?;
    let services = Services { source, destination };
    bucket(&services.source, FROM).await?;
    versioned(&services.source, FROM).await?;
    put_all(&services.source.s3(), FROM, &objects(1)).await?;
    put_all(&services.source.s3(), FROM, &objects(2)).await?;
    bucket(&services.destination, REPORTS).await?;
    let mut whole = Vec::new();
    let mut lacking = Vec::new();
    let mut tried = BTreeSet::new();
    for way in [Way::Everything, Way::Versions] {
        let job = prepare(case, &services, way, way.name(), None).await?;
        for of in Of::BOTH {
            for grant in Policy::read(&job.policies[of as usize])?.grants() {
                if tried.insert((of, grant.clone())) {
                    let name = format!("without-{}", tried.len());
                    lacking.push(prepare(case, &services, way, &name, Some((of, grant))).await?);
                }
            }
        }
        whole.push(job);
    }
    // Only objects older than the scan are deleted.
    tokio::time::sleep(CLEARLY_OLDER).await;
    for job in &whole {
        run_whole(case, &services, job).await?;
    }
    let mut wrong: Vec<String> = compare(case, &whole).await?;
    let ends: Vec<anyhow::Result<String>> =
        futures::stream::iter(&lacking).map(|job| run_without(case, job)).buffered(AT_ONCE).collect().await;
    let mut notes = Vec::new();
    for end in ends {
        match end {
            Ok(note) => notes.push(note),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for job in &whole {
        let [source, destination] = Of::BOTH.map(|of| job.events(case, of).len());
        case.note(format!("{}: {source} requests to the source and {destination} to the destination", job.name));
    }
    for note in notes {
        case.note(note);
    }
    Ok(())
}

/// Returns the source's objects; those of another seed have other bytes.
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
    lacks: Option<(Of, Grant)>,
) -> anyhow::Result<Job> {
    let policies = [Value::Null, Value::Null];
    let job = Job { name: name.to_owned(), way, to: format!("to-{name}"), policies, lacks };
    bucket(&services.destination, &job.to).await?;
    if way == Way::Everything {
        let extraneous = Object::of_bytes("b/a/extraneous", "gone at the source");
        put_all(&services.destination.s3(), &job.to, &[extraneous]).await?;
    }
    versioned(&services.destination, &job.to).await?;
    let from = case.counted(&job.side(Of::Source), &services.source).await?;
    let to = case.counted(&job.side(Of::Destination), &services.destination).await?;
    let write = |keys: [(&str, &str); 2]| {
        let sides = (Side::new(&from, keys[0], FROM), Side::new(&to, keys[1], &job.to));
        case.write(&job.file(), &manifest(name, &sides.0, &sides.1, way.fields(&job.to))?)
    };
    // The policies do not depend on keys.
    write([("none", "none"); 2])?;
    let mut policies = [policy(case, &job, Of::Source).await?, policy(case, &job, Of::Destination).await?];
    if let Some((of, grant)) = &job.lacks {
        policies[*of as usize] = without(&policies[*of as usize], grant)?;
    }
    let mut users = Vec::new();
    for of in Of::BOTH {
        let service = services.of(of);
        // A side that lacks nothing has been seen to work.
        users.push(if job.lacks.as_ref().is_none_or(|(lacking, _)| *lacking == of) {
            let key = create_user_at(&service.endpoint(), &format!("user-of-{name}"), &policies[of as usize])?;
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

async fn policy(case: &Case, job: &Job, of: Of) -> anyhow::Result<Value> {
    let printed = case.s3migrate(&["iam-policy", of.name(), "--file", &job.file()], LIMIT).await?;
    printed.expect(0)?;
    serde_json::from_str(&printed.stdout).with_context(|| format!("failed to read the policy of the {}", of.name()))
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
    case.log.set_delay(delay(500));
    let mut first = case.start(&["run", &job.file(), "--plain"])?;
    until("a part to be stored", LIMIT, INTERVAL, async || {
        first.check_running()?;
        let is_stored = |event: &Event| {
            (&*event.request.operation, &event.request.key, event.status) == ("UploadPart", &key, Some(200))
        };
        Ok(job.events(case, Of::Destination).iter().any(is_stored).then_some(()))
    })
    .await?;
    first.kill()?;
    case.log.set_delay(delay(0));
    Ok(())
}

async fn run(case: &Case, job: &Job) -> anyhow::Result<Ended> {
    case.s3migrate(&["run", &job.file(), "--json", "--patience", PATIENCE], LIMIT).await
}

/// Compares the requests of whole runs with their policies; returns what is wrong.
async fn compare(case: &Case, jobs: &[Job]) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for of in Of::BOTH {
        let (mut used, mut unused, mut explained) = (BTreeSet::new(), BTreeSet::new(), String::new());
        let side = of.name();
        for job in jobs {
            let printed = case.s3migrate(&["iam-policy", side, "--file", &job.file(), "--explain"], LIMIT).await?;
            printed.expect(0)?;
            explained += &printed.stdout;
            let events = job.events(case, of);
            let found = Policy::read(&job.policies[of as usize])?.compare(&events)?;
            let denied = found.denied.iter();
            wrong.extend(denied.map(|need| format!("{side}: {} on {} is not allowed", need.action, need.resource)));
            used.extend(found.used.into_keys());
            unused.extend(found.unused);
        }
        unused.retain(|grant| !used.contains(grant));
        let is_row = |(at, sid, action, _): &(Of, &str, &str, &str), grant: &Grant| {
            (*at, *sid, *action) == (of, &*grant.sid, &*grant.action)
        };
        for grant in &unused {
            let row = NOT_SEEN.iter().find(|row| is_row(row, grant));
            let has_words = row.is_some_and(|(.., action, words)| {
                explained.lines().any(|line| line.contains(action) && line.contains(words))
            });
            if !has_words {
                wrong.push(format!("{side}: {} of {} was not needed", grant.action, grant.sid));
            }
        }
        let stale = NOT_SEEN.iter().filter(|row| row.0 == of && !unused.iter().any(|grant| is_row(row, grant)));
        wrong.extend(stale.map(|(_, sid, action, _)| format!("{side}: {action} of {sid} was needed after all")));
    }
    Ok(wrong)
}

/// Runs a job that lacks an action. Returns how it ends, or fails if that is not as expected.
async fn run_without(case: &Case, job: &Job) -> anyhow::Result<String> {
    let (of, grant) = job.lacks.as_ref().context("the job lacks nothing")?;
    let is_it = |at: Of, sid: &str, action: &str| (at, sid, action) == (*of, &*grant.sid, &*grant.action);
    let row = SPARED.iter().find(|(at, sid, action, _)| is_it(*at, sid, action));
    let expected = row.map_or(Without::Fails, |row| row.3);
    let is_seen = !NOT_SEEN.iter().any(|(at, sid, action, _)| is_it(*at, sid, action));
    let ended = run(case, job).await?;
    let refused: Vec<Event> =
        job.events(case, *of).into_iter().filter(|event| event.status == Some(FORBIDDEN)).collect();
    let refused = Policy::read(&job.policies[*of as usize])?.compare(&refused)?.denied;
    let refused: BTreeSet<&str> = refused.iter().map(|need| need.action.as_str()).collect();
    let is_refused = refused == BTreeSet::from([grant.action.as_str()]);
    let is_named = ended.stdout.contains(&grant.action) || ended.stderr.contains(&grant.action);
    let what = format!("{} without {} of {}", of.name(), grant.action, grant.sid);
    let failed = ended.code != Some(0);
    let is_right = match expected {
        Without::Fails if is_seen => failed && is_refused && is_named,
        Without::EndsWell(_) => !failed && is_refused,
        Without::Fails | Without::NotEnforced(_) => !failed && refused.is_empty(),
    };
    let Ended { code, stdout, stderr } = &ended;
    ensure!(is_right, "{what} ended with {code:?}, refused were {refused:?}: {stdout}{stderr}");
    Ok(match expected {
        Without::Fails if is_seen => format!("{what}: exit {}", code.unwrap_or_default()),
        Without::Fails => format!("{what}: not needed"),
        Without::EndsWell(reason) | Without::NotEnforced(reason) => format!("{what}: exit 0, {reason}"),
    })
}
