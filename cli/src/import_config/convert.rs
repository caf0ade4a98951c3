//! Converts what was found to documents.

use migration_core::size::ByteSize;

use super::error::ImportError;
use super::found::{Found, Given, Keys, Left};
use super::pairs::{self, Pair};
use super::settings::{self, Becomes};
use super::values::{JobType, Values};
use super::yaml::{self, Field, Item, Node};

/// Key of the ignore list in its `ConfigMap`.
pub const IGNORE_KEY: &str = "ignore-list.txt";
/// Longest name of a job. Source: the rule on `metadata.name` of the resource.
const NAME: usize = 40;
/// Largest text of a `ConfigMap`, less its metadata.
const MAP_BYTES: usize = 1_000_000;

/// What the files don't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Name of the job, and begin of the other names.
    pub name: String,
    /// Namespace of all documents; `None` leaves it to kubectl.
    pub namespace: Option<String>,
    /// Region at which the predecessor ran.
    pub region: Option<String>,
    /// Region of the stored credentials.
    pub credentials_region: Option<String>,
}

/// The documents as YAML.
#[derive(Clone, PartialEq, Eq)]
pub struct Documents {
    /// The jobs, and the `ConfigMap` of the ignore list if there is one.
    pub resources: String,
    /// The Secret, if keys were given.
    pub secret: Option<String>,
}

/// The regions of both sides.
struct Regions {
    home: String,
    /// Says where the region of the home side comes from, if a file names it.
    why: Option<String>,
    other: String,
}

/// What all jobs have in common.
struct Common<'a> {
    choices: &'a Choices,
    job_type: (JobType, String),
    regions: Regions,
    keys_are_known: bool,
    has_patterns: bool,
    is_serverless: bool,
    storage_class: Option<Field>,
    versioning: Vec<Field>,
    transfer: Vec<Field>,
    log_level: Option<Field>,
}

/// Converts what was found. Each setting is converted, or named in a comment.
pub fn convert(found: &Found, choices: &Choices) -> Result<Documents, ImportError> {
    if found.rules.is_empty() {
        return Err(ImportError::NoBuckets("no list was given"));
    }
    let mut values = Values::new(found);
    let common = common(found, choices, &mut values)?;
    let same_service = partition(&common.regions.home) == partition(&common.regions.other);
    let pairs = pairs::convert(&found.rules, same_service);
    if pairs.jobs.is_empty() {
        return Err(ImportError::NoBuckets("no entry of the list can be taken over"));
    }
    let (patterns, refused) = usable_patterns(found.patterns.as_deref().unwrap_or_default());
    let left = [pairs.left, refused, unused(found, values.taken()), found.left.clone()].concat();
    let mut documents = Vec::new();
    for (place, pairs) in pairs.jobs.iter().enumerate() {
        let name = job_name(&choices.name, place)?;
        let head = if place == 0 { head(&left) } else { vec![FURTHER_JOB.to_owned()] };
        documents.push(yaml::document(&head, &job(&name, pairs, &common)));
    }
    if found.patterns.is_some() {
        documents.push(config_map(choices, &patterns)?);
    }
    let secret = found.keys.are_complete().then(|| secret(choices, &found.keys));
    Ok(Documents { resources: documents.join("---\n"), secret })
}

const FURTHER_JOB: &str = "A further job, for pairs that may not stand together with the ones above: their \
     destinations overlap, or there are more than 50. If two jobs write the same keys, the last writer wins, as \
     before.";

fn common<'a>(found: &Found, choices: &'a Choices, values: &mut Values<'_>) -> Result<Common<'a>, ImportError> {
    let job_type = values.job_type()?;
    let regions = regions(found, choices, values)?;
    let switches = [
        ("JobsenderCompareVersionId", "compareVersionId"),
        ("UpdateVersionId", "updateVersionId"),
        ("GetObjectWithVersionId", "getObjectWithVersionId"),
    ];
    let versioning = switches.into_iter().map(|(name, field)| values.switch(name, field));
    let versioning = versioning.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let known = "a storage class that S3 accepts for new objects, such as STANDARD_IA";
    Ok(Common {
        choices,
        job_type,
        regions,
        keys_are_known: found.keys.are_complete(),
        has_patterns: found.patterns.is_some(),
        is_serverless: found.is_serverless,
        storage_class: values.word("StorageClass", "storageClass", (is_storage_class, known))?,
        versioning,
        transfer: transfer(values)?,
        log_level: values.log_level()?,
    })
}

fn is_storage_class(word: &str) -> bool {
    serde_json::from_value::<migration_api::services::StorageClass>(word.into()).is_ok()
}

fn regions(found: &Found, choices: &Choices, values: &mut Values<'_>) -> Result<Regions, ImportError> {
    let chosen = choices.region.clone().map(|region| (region, None));
    // A region that is not asked for is not taken, and will be named.
    let home = chosen.or_else(|| values.region().map(|(region, why)| (region, Some(why))));
    let (home, why) = home.ok_or(ImportError::NoRegion {
        side: "the side that the predecessor ran at",
        advice: "its files don't say it; give --region, such as eu-central-1",
    })?;
    let other = found.keys.region.clone().or_else(|| choices.credentials_region.clone());
    let other = other.ok_or(ImportError::NoRegion {
        side: "the stored credentials",
        advice: "give --credentials with the value of the parameter s3_migration_credentials, or --credentials-region",
    })?;
    if let Some(wrong) = [&home, &other].into_iter().find(|region| !is_region(region)) {
        return Err(ImportError::Region(wrong.clone()));
    }
    Ok(Regions { home, why, other })
}

/// Source: the rule on regions of the resource.
fn is_region(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=40).contains(&text.len()) && text.starts_with(of_name) && text.chars().all(|c| of_name(c) || c == '-')
}

/// Returns what tells AWS partitions apart in the name of a region.
fn partition(region: &str) -> &str {
    ["cn-", "us-gov-"].into_iter().find(|prefix| region.starts_with(prefix)).unwrap_or_default()
}

/// Returns `spec.transfer`. The memory limit is raised if a part or a small object would not fit.
fn transfer(values: &mut Values<'_>) -> Result<Vec<Field>, ImportError> {
    let part = values.size("ChunkSize", "partSize", 5)?;
    let threshold = values.size("ResumableThreshold", "multipartThreshold", 0)?;
    let held = part.as_ref().map_or(16, |(mib, _)| *mib).max(threshold.as_ref().map_or(16, |(mib, _)| *mib));
    let mut fields: Vec<Field> = [part, threshold].into_iter().flatten().map(|(_, field)| field).collect();
    fields.extend(values.number("MaxParallelFile", "filesPerWorker", (1, 256))?);
    fields.extend(values.number("MaxThread", "partsPerFile", (1, 256))?);
    fields.extend(values.number("MaxRetry", "maxAttempts", (1, 100))?);
    if held > 256 {
        let why = "at least a part and a small object have to fit; the predecessor had no limit";
        fields.push(Field::text("memoryLimit", ByteSize::mib(held).to_string()).saying(why));
    }
    Ok(fields)
}

fn job_name(name: &str, place: usize) -> Result<String, ImportError> {
    let name = if place == 0 { name.to_owned() } else { format!("{name}-{}", place + 1) };
    let fits = name.len() <= NAME
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.is_empty();
    if fits { Ok(name) } else { Err(ImportError::Name(name)) }
}

/// Returns the comments at the head of the first job.
fn head(left: &[Left]) -> Vec<String> {
    let mut head = vec![
        "Made by `s3migrate import-config` of the predecessor's files. A comment above a field names the setting that \
         it comes from, and what is different now; docs/import-config.md has the whole table."
            .to_owned(),
    ];
    head.extend(left.iter().map(|Left { what, reason }| format!("not taken over: {what}: {reason}")));
    head
}

/// Names the settings that nothing was made of.
fn unused(found: &Found, taken: &[&str]) -> Vec<Left> {
    let is_unused = |given: &&Given| !taken.iter().any(|name| name.eq_ignore_ascii_case(&given.name));
    let reason = |given: &Given| match settings::find(&given.name) {
        Some(setting) if setting.becomes == Becomes::Nothing => setting.note,
        Some(_) => "another value of the same meaning counts",
        None => "the predecessor has no such setting",
    };
    let left = found.settings.iter().filter(is_unused).map(|given| {
        let what = format!("{} = {}", yaml::shown(&given.name), found.shown(given));
        Left::new(what, reason(given))
    });
    left.collect()
}

/// Divides patterns into those that compile and those that don't.
fn usable_patterns(patterns: &[String]) -> (Vec<&String>, Vec<Left>) {
    let compiles = |pattern: &&String| migration_core::ignore::IgnoreList::new(&[pattern]).is_ok();
    let (usable, refused): (Vec<_>, Vec<_>) = patterns.iter().partition(compiles);
    let why = "it has an impossible class of characters, and matched nothing or stopped the predecessor";
    let left = |pattern: &String| Left::new(format!("pattern {} of the ignore list", yaml::shown(pattern)), why);
    (usable, refused.into_iter().map(left).collect())
}

fn metadata(name: &str, choices: &Choices) -> Field {
    let namespace = choices.namespace.as_ref().map(|namespace| Field::text("namespace", namespace));
    Field::map("metadata", std::iter::once(Field::text("name", name)).chain(namespace).collect())
}

fn job(name: &str, pairs: &[Pair], common: &Common<'_>) -> Vec<Field> {
    vec![
        Field::text("apiVersion", "s3migration.dev/v1alpha1"),
        Field::text("kind", "MigrationJob"),
        metadata(name, common.choices),
        Field::map("spec", spec(pairs, common)),
    ]
}

fn spec(pairs: &[Pair], common: &Common<'_>) -> Vec<Field> {
    let home = common.regions.home.as_str();
    let mut spec = vec![buckets(pairs)];
    spec.extend(sides(common));
    if common.has_patterns {
        let reference = vec![Field::text("name", ignore_name(common.choices)), Field::text("key", IGNORE_KEY)];
        let from = Field::map("ignoreFrom", vec![Field::map("configMapKeyRef", reference)]);
        let note = settings::find("s3_migration_ignore_list.txt").map(|setting| setting.note).unwrap_or_default();
        spec.push(Field::map("filters", vec![from.saying(format!("s3_migration_ignore_list.txt: {note}"))]));
    }
    spec.push(compare());
    spec.extend(trigger(common));
    for (name, fields) in [("versioning", &common.versioning), ("transfer", &common.transfer)] {
        if !fields.is_empty() {
            spec.push(Field::map(name, fields.clone()));
        }
    }
    for (name, what) in [("queue", "queue"), ("ledger", "table")] {
        let why = format!("The operator creates a {what} of the job's own here, with its own identity");
        spec.push(Field::map(name, vec![Field::text("region", home)]).saying(why));
    }
    spec.extend(common.log_level.clone().map(|level| Field::map("logs", vec![level])));
    spec
}

fn buckets(pairs: &[Pair]) -> Field {
    let item = |Pair { pair, comments }: &Pair| {
        let mut fields = vec![Field::text("sourceBucket", &pair.source_bucket)];
        let prefixes = [("sourcePrefix", &pair.source_prefix), ("destinationPrefix", &pair.destination_prefix)];
        let [source, destination] =
            prefixes.map(|(name, prefix)| (!prefix.is_empty()).then(|| Field::text(name, prefix)));
        fields.extend(source);
        fields.push(Field::text("destinationBucket", &pair.destination_bucket));
        fields.extend(destination);
        Item::new(Node::Map(fields), comments.clone())
    };
    let note = settings::find("des_prefix").map(|setting| setting.note).unwrap_or_default();
    Field::new("buckets", Node::List(pairs.iter().map(item).collect()))
        .saying(
            "bucket_para: destination key = destinationPrefix + the whole source key, as before (prefixMode Append)",
        )
        .saying(format!("des_prefix: {note}"))
}

/// Returns both sides: the stored keys are those of the side at which the predecessor did not run.
fn sides(common: &Common<'_>) -> [Field; 2] {
    let Regions { home, why: home_why, other } = &common.regions;
    let (job_type, why) = &common.job_type;
    let own = || {
        let region = Field::text("region", home);
        vec![home_why.iter().fold(region, Field::saying)]
    };
    let stored = || {
        let reference = vec![Field::text("name", secret_name(common.choices))];
        let credentials = Field::map("credentials", vec![Field::map("secretRef", reference)]).saying(why);
        let credentials = if common.keys_are_known {
            credentials
        } else {
            credentials.saying(
                "No credentials were given: create this Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        };
        vec![Field::text("region", other), credentials]
    };
    let identity = "Read and written with the pods' own identity (IRSA, Pod Identity or the node's role)";
    let (source, mut destination) = match job_type {
        JobType::Put => (own(), stored()),
        JobType::Get => (stored(), own()),
    };
    destination.extend(common.storage_class.clone());
    let [source, destination] =
        [("source", source), ("destination", destination)].map(|(name, side)| Field::map(name, side));
    match job_type {
        JobType::Put => [source.saying(identity.replace("Read and written", "Read")), destination],
        JobType::Get => [source, destination.saying(identity.replace("Read and written", "Written"))],
    }
}

fn compare() -> Field {
    Field::text("compare", "Default").saying(
        "The predecessor compared keys and sizes only, so that changes of the same size went unnoticed; Size does \
         that. Default also compares ETags, and times where ETags can't be compared",
    )
}

fn trigger(common: &Common<'_>) -> Option<Field> {
    let hourly = Field::text("schedule", "0 * * * *").saying(
        "The serverless edition looked for new objects every hour, if its queue was empty. A run that is due during \
         another one is skipped",
    );
    common.is_serverless.then(|| Field::map("trigger", vec![hourly]))
}

fn secret_name(choices: &Choices) -> String {
    format!("{}-credentials", choices.name)
}

fn ignore_name(choices: &Choices) -> String {
    format!("{}-ignore-list", choices.name)
}

fn secret(choices: &Choices, keys: &Keys) -> String {
    let members =
        [("AWS_ACCESS_KEY_ID", &keys.id), ("AWS_SECRET_ACCESS_KEY", &keys.secret), ("AWS_SESSION_TOKEN", &keys.token)];
    let members = members.into_iter().filter_map(|(name, value)| Some(Field::text(name, value.as_ref()?)));
    let fields = [
        Field::text("apiVersion", "v1"),
        Field::text("kind", "Secret"),
        metadata(&secret_name(choices), choices),
        Field::text("type", "Opaque"),
        Field::map("stringData", members.collect()),
    ];
    yaml::document(&[], &fields)
}

fn config_map(choices: &Choices, patterns: &[&String]) -> Result<String, ImportError> {
    let text: String = patterns.iter().flat_map(|pattern| [pattern.as_str(), "\n"]).collect();
    if text.len() > MAP_BYTES {
        let problem = format!("it has {} bytes and a ConfigMap holds {MAP_BYTES}; shorten it", text.len());
        return Err(ImportError::Malformed { what: "the ignore list", problem });
    }
    let fields = [
        Field::text("apiVersion", "v1"),
        Field::text("kind", "ConfigMap"),
        metadata(&ignore_name(choices), choices),
        Field::map("data", vec![Field::new(IGNORE_KEY, Node::Lines(text))]),
    ];
    Ok(yaml::document(&[], &fields))
}
