//! Configurations of the predecessor, converted by `import-config` and run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use serde_json::json;

use crate::local::case::{Case, Ended};
use crate::local::network::Internet;
use crate::paths;
use crate::services::{REGION, create_user_at};
use crate::tls::Certificates;
use crate::tree::Object;
use crate::tree::upload::put_all;
use crate::wire::services::{Kind, Server};

const LIMIT: Duration = Duration::from_mins(3);
/// Key of an object that is sent in parts.
const LARGE: &str = "large";
/// Names of the services of the samples' regions.
const NAMES: [&str; 6] = [
    "DNS:s3.us-east-1.amazonaws.com",
    "DNS:*.s3.us-east-1.amazonaws.com",
    "DNS:s3.ap-northeast-1.amazonaws.com",
    "DNS:*.s3.ap-northeast-1.amazonaws.com",
    "DNS:s3.cn-northwest-1.amazonaws.com.cn",
    "DNS:*.s3.cn-northwest-1.amazonaws.com.cn",
];

/// A sample of the predecessor's files.
struct Sample {
    /// Its directory under `cli/tests/golden/import_config`.
    name: &'static str,
    /// Options that name its files or other values, as `option=file`.
    options: &'static [&'static str],
    /// The side that the stored keys belong to.
    stored: Stored,
    /// Regions of source and destination.
    regions: [&'static str; 2],
    /// Buckets and keys of the source, with those that the predecessor gave the copy, if it made one.
    objects: &'static [(&'static str, &'static str, Option<Copied>)],
    /// Storage class of the copies.
    storage_class: &'static str,
}

/// Bucket and key of a copy.
type Copied = (&'static str, &'static str);

/// The side that the predecessor's stored keys belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// `JobType` GET.
    Source,
    /// `JobType` PUT.
    Destination,
}

/// A service, and the region of its buckets.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    service: &'a Server,
    region: &'static str,
}

impl Place<'_> {
    fn s3(self) -> aws_sdk_s3::Client {
        self.service.s3_in(self.region)
    }

    /// Returns the end of the region's hosts on AWS, with their port.
    fn host(self) -> String {
        let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
        format!(".{}.amazonaws.com{china}:443", self.region)
    }

    async fn create(self, bucket: &str) -> anyhow::Result<()> {
        // S3 takes no constraint for this one.
        let constraint = (self.region != REGION).then(|| BucketLocationConstraint::from(self.region));
        let constraint =
            constraint.map(|region| CreateBucketConfiguration::builder().location_constraint(region).build());
        let made = self.s3().create_bucket().bucket(bucket).set_create_bucket_configuration(constraint).send().await;
        made.map(drop).with_context(|| format!("failed to make {bucket} in {}", self.region))
    }

    async fn keys(self, bucket: &str) -> anyhow::Result<BTreeSet<String>> {
        let listed = self.s3().list_objects_v2().bucket(bucket).send().await;
        let listed = listed.with_context(|| format!("failed to list {bucket}"))?;
        Ok(listed.contents().iter().filter_map(|object| object.key()).map(ToOwned::to_owned).collect())
    }
}

/// The samples. The copies' keys are those that the predecessor's `PurePosixPath(des_prefix) / key` gives.
const SAMPLES: [Sample; 4] = [
    Sample {
        name: "cluster",
        options: &[
            "--cluster-config=config.ini",
            "--bucket-para=bucket_para.json",
            "--ignore-list=ignore.txt",
            "--region=us-east-1",
            "--name=open-data",
            "--namespace=migration",
        ],
        stored: Stored::Destination,
        regions: ["us-east-1", "cn-northwest-1"],
        objects: &[
            ("broad-references", "hg38/v0/a.fasta", Some(("s3-open-data", "broad-references/hg38/v0/a.fasta"))),
            ("gatk-test-data", "README", None),
            ("gatk-test-data", "READMEs/first", Some(("s3-open-data", "gatk-test-data/READMEs/first"))),
            ("giab", "folder/", Some(("s3-open-data", "giab/folder/"))),
            ("giab", LARGE, Some(("s3-open-data", "giab/large"))),
        ],
        storage_class: "STANDARD",
    },
    Sample {
        name: "serverless",
        options: &["--serverless-env=functions.json", "--bucket-para=bucket_para.json", "--name=hourly"],
        stored: Stored::Source,
        regions: ["ap-northeast-1", "cn-northwest-1"],
        objects: &[
            ("huangzb-tokyo-video", "2024/a.mp4", Some(("s3-migration-test-nx", "2024/a.mp4"))),
            ("huangzb-tokyo-video", "2024-extra/b.mp4", Some(("s3-migration-test-nx", "2024-extra/b.mp4"))),
            ("huangzb-tokyo-video", "2023/c.mp4", None),
        ],
        storage_class: "STANDARD_IA",
    },
    Sample {
        name: "program",
        options: &["--app-py=app.py", "--serverless-env=cdk.json", "--region=ap-northeast-1", "--name=program"],
        stored: Stored::Destination,
        regions: ["ap-northeast-1", "cn-northwest-1"],
        objects: &[
            ("photos", "1.jpg", Some(("photos-copy", "from-jp/2024/1.jpg"))),
            ("photos", "album/2.jpg", Some(("photos-copy", "from-jp/2024/album/2.jpg"))),
        ],
        storage_class: "STANDARD",
    },
    Sample {
        name: "awkward",
        options: &[
            "--cluster-config=config.ini",
            "--bucket-para=bucket_para.json",
            "--ignore-list=ignore.txt",
            "--app-py=app.py",
            "--region=us-east-1",
            "--name=awkward",
        ],
        stored: Stored::Source,
        regions: ["us-east-1", "us-east-1"],
        objects: &[
            ("logs-a", "app/1", Some(("archive", "a/b/app/1"))),
            ("logs-a", "apple", Some(("archive", "a/b/apple"))),
            ("logs-a", "app/1.tmp", None),
            ("logs-a", "other", None),
            ("logs-b", "top", Some(("archive", "top"))),
            // The predecessor wrote `/yes/1`, did not find that key again, and wrote it in each run; the comment in the
            // converted job says so.
            ("logs-c", "yes/1", Some(("archive-3", "yes/1"))),
            ("logs-c", "no", None),
        ],
        storage_class: "GLACIER",
    },
];

/// Each sample is converted as it is, apart from the keys, which the services check. The job runs, and each object is
/// where the predecessor put it; a second run finds it in
/// place.
pub async fn imported_configurations_run(case: &mut Case) -> anyhow::Result<()> {
    let certificates = Certificates::make(&case.file(""), &NAMES)?;
    let mut wrong = Vec::new();
    for sample in &SAMPLES {
        if let Err(error) = one(case, sample, &certificates).await {
            case.note(format!("{}: {error:#}", sample.name));
            wrong.push(sample.name);
        }
    }
    ensure!(wrong.is_empty(), "failed: {}", wrong.join(", "));
    Ok(())
}

async fn one(case: &mut Case, sample: &Sample, certificates: &Certificates) -> anyhow::Result<()> {
    let source = case.server(Kind::CheckedMiniStack, &format!("{}-source", sample.name)).await?;
    let destination = case.server(Kind::CheckedMiniStack, &format!("{}-destination", sample.name)).await?;
    // One service has both sides where they are in one region.
    let [from, to] = sample.regions;
    let source = Place { service: &source, region: from };
    let destination = if from == to { source } else { Place { service: &destination, region: to } };
    fill(sample, source, destination).await?;
    let (stored, own) = match sample.stored {
        Stored::Source => (source, destination.service.keys()),
        Stored::Destination => (destination, source.service.keys()),
    };
    let files = convert(case, sample, stored).await?;
    let hosts = [source, destination].map(|place| (place.host(), place.service.address()));
    let hosts = hosts.each_ref().map(|(host, address)| (host.as_str(), *address));
    let internet = Internet::new(&hosts, certificates.clone());
    let proxy = internet.serve().await?;
    let url = format!("http://{}", proxy.address);
    let variables = [
        ("HTTPS_PROXY", OsStr::new(&url)),
        ("SSL_CERT_FILE", certificates.authority.as_os_str()),
        ("AWS_ACCESS_KEY_ID", OsStr::new(own.0)),
        ("AWS_SECRET_ACCESS_KEY", OsStr::new(own.1)),
    ];
    let arguments = ["run", &files.0, &files.1, "--json"];
    let first = case.s3migrate_with(&arguments, &variables, LIMIT).await?;
    first.expect(0)?;
    let moved = check(sample, destination).await?;
    let second = case.s3migrate_with(&arguments, &variables, LIMIT).await?;
    second.expect(0)?;
    let sum = |ended: &Ended| -> anyhow::Result<u64> {
        Ok(ended.events("runEnded")?.iter().filter_map(|event| event["progress"]["done"].as_u64()).sum())
    };
    // The ETag of what was sent in parts tells nothing, and in a test a copy is not clearly younger than its source.
    let unclear = sample.objects.iter().filter(|(_, key, _)| *key == LARGE).count();
    let sums = (sum(&first)?, sum(&second)?);
    ensure!(sums.0 == moved && sums.1 <= unclear as u64, "{sums:?} objects were copied");
    let hosts: Vec<String> = internet.asked().into_keys().collect();
    case.note(format!("{}: {moved} objects where the predecessor put them, by {}", sample.name, hosts.join(", ")));
    Ok(())
}

async fn fill(sample: &Sample, source: Place<'_>, destination: Place<'_>) -> anyhow::Result<()> {
    let mut objects: BTreeMap<&str, Vec<Object>> = BTreeMap::new();
    for (from, key, _) in sample.objects {
        let bytes = if *key == LARGE { vec![7; 12 << 20] } else { format!("{from} {key}").into_bytes() };
        objects.entry(from).or_default().push(Object::of_bytes(*key, bytes));
    }
    for (from, objects) in &objects {
        source.create(from).await?;
        put_all(&source.s3(), from, objects).await?;
    }
    let to: BTreeSet<&str> = sample.objects.iter().filter_map(|(.., copy)| Some(copy.as_ref()?.0)).collect();
    for to in to {
        destination.create(to).await?;
    }
    // Nothing of the pairs: it must stay.
    for (to, key) in sample.objects.iter().filter_map(|(.., copy)| *copy).take(1) {
        put_all(&destination.s3(), to, &[Object::of_bytes(format!("{key}.other"), "of somebody else")]).await?;
    }
    Ok(())
}

/// Converts a sample with keys of a new user of the service that they belong to. Returns the files of the job and of its
/// Secret.
async fn convert(case: &Case, sample: &Sample, stored: Place<'_>) -> anyhow::Result<(String, String)> {
    let everything =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    let key = create_user_at(&stored.service.endpoint(), "migration", &everything)?;
    let keys = json!({"aws_access_key_id": key.id, "aws_secret_access_key": key.secret, "region": stored.region});
    let stored = case.write(&format!("{}-credentials.json", sample.name), &keys.to_string())?;
    let directory: PathBuf = paths::repository().join("cli/tests/golden/import_config").join(sample.name);
    let (job, secret) = (format!("{}.yaml", sample.name), format!("{}-secret.yaml", sample.name));
    let mut arguments = vec!["import-config".to_owned(), format!("--credentials={}", stored.display())];
    arguments.extend(sample.options.iter().map(|option| match option.split_once('=') {
        Some((name, file)) if directory.join(file).is_file() => format!("{name}={}", directory.join(file).display()),
        _ => (*option).to_owned(),
    }));
    arguments.extend([format!("--output={job}"), format!("--secrets={secret}")]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    case.s3migrate(&arguments, LIMIT).await?.expect(0)?;
    Ok((job, secret))
}

/// Checks that the destination has the copies and what was there, and nothing else. Returns the number of copies.
async fn check(sample: &Sample, destination: Place<'_>) -> anyhow::Result<u64> {
    let mut expected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let copies: Vec<_> = sample.objects.iter().filter_map(|(.., copy)| *copy).collect();
    for (to, key) in &copies {
        expected.entry(to).or_default().insert((*key).to_owned());
    }
    for (to, key) in copies.iter().take(1) {
        expected.entry(to).or_default().insert(format!("{key}.other"));
    }
    for (to, expected) in &expected {
        let found = destination.keys(to).await?;
        ensure!(found == *expected, "{to} has {found:?} instead of {expected:?}");
    }
    for (to, key) in &copies {
        let head = destination.s3().head_object().bucket(*to).key(*key).send().await;
        let head = head.with_context(|| format!("failed to look up {key}"))?;
        let class = head.storage_class().map_or("STANDARD", aws_sdk_s3::types::StorageClass::as_str);
        ensure!(class == sample.storage_class, "{key} has the storage class {class}");
    }
    u64::try_from(copies.len()).context("there are too many copies")
}
