//! `s3migrate import-config` on the predecessor's files: golden files, and what must hold for any of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue fails")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use migration_api::MigrationJob;
use migration_api::config::{Mounts, QueueAndTable, ignore_patterns, job_config};
use migration_core::config::{JobConfig, JobIdentity};
use s3migrate::import_config::{ImportConfigArgs, ImportError, SETTINGS, run};
use s3migrate::manifest;
use serde::Deserialize;
use serde_yaml::Value;

/// Secrets of the samples.
const SECRETS: [&str; 3] = ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE", "hunter22"];

const CASES: [(&str, &[&str]); 4] = [
    (
        "cluster",
        &[
            "--cluster-config=config.ini",
            "--bucket-para=bucket_para.json",
            "--credentials=credentials.json",
            "--ignore-list=ignore.txt",
            "--region=us-east-1",
            "--name=open-data",
            "--namespace=migration",
        ],
    ),
    (
        "serverless",
        &["--serverless-env=functions.json", "--bucket-para=bucket_para.json", "--credentials=credentials.json"],
    ),
    ("program", &["--app-py=app.py", "--serverless-env=cdk.json", "--region=ap-northeast-1"]),
    (
        "awkward",
        &[
            "--cluster-config=config.ini",
            "--bucket-para=bucket_para.json",
            "--credentials=credentials.json",
            "--ignore-list=ignore.txt",
            "--app-py=app.py",
            "--region=us-east-1",
            "--name=a-name-of-thirty-eight-letters-in-all",
        ],
    ),
];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ImportConfigArgs,
}

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import_config").join(case)
}

/// Reads arguments whose files are those of a case.
fn args(case: &str, args: &[&str]) -> ImportConfigArgs {
    let directory = golden(case);
    let file = |arg: &&str| match arg.split_once('=') {
        Some((name, file)) if directory.join(file).is_file() => format!("{name}={}", directory.join(file).display()),
        _ => (*arg).to_owned(),
    };
    Cli::try_parse_from(std::iter::once("import-config".to_owned()).chain(args.iter().map(file))).unwrap().args
}

fn output(args: &ImportConfigArgs) -> Result<String, ImportError> {
    let mut out = Vec::new();
    run(args, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn of_kind(yaml: &str, kind: &str) -> Vec<Value> {
    documents(yaml).into_iter().filter(|document| document["kind"] == kind).collect()
}

fn jobs(yaml: &str) -> Vec<MigrationJob> {
    of_kind(yaml, "MigrationJob").into_iter().map(|job| serde_yaml::from_value(job).unwrap()).collect()
}

/// Converts a job as the operator does.
fn config(job: &MigrationJob, patterns: &str) -> JobConfig {
    let identity = JobIdentity { namespace: "n".into(), name: "j".into(), uid: "u".into() };
    let names =
        QueueAndTable { queue_url: "q".into(), dead_letter_url: "d".into(), table: "t".into(), queue_arn: None };
    let mounts = Mounts { credentials: PathBuf::from("/keys"), ca: PathBuf::from("/ca") };
    let config = job_config(&job.spec, identity, &names, &mounts);
    JobConfig { ignore: ignore_patterns(patterns), ..config }
}

#[test]
fn samples_become_the_golden_files() {
    for (case, given) in CASES {
        let found = output(&args(case, given)).unwrap();
        let path = golden(case).join("expected.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(found == expected, "{} differs; set UPDATE_GOLDEN=1 to write it:\n{found}", path.display());
    }
}

#[test]
fn results_are_valid_jobs() {
    for (case, given) in CASES {
        let yaml = output(&args(case, given)).unwrap();
        let maps = of_kind(&yaml, "ConfigMap");
        let patterns = maps.first().map_or("", |map| map["data"]["ignore-list.txt"].as_str().unwrap());
        let jobs = jobs(&yaml);
        assert!(!jobs.is_empty(), "{case}");
        for job in jobs {
            config(&job, patterns).validate().unwrap_or_else(|error| panic!("{case}: {error}"));
            let known = serde_yaml::to_value(&job.spec).unwrap();
            let name = job.metadata.name.clone().unwrap();
            let written =
                of_kind(&yaml, "MigrationJob").into_iter().find(|job| job["metadata"]["name"] == name.as_str());
            assert_fields(&written.unwrap()["spec"], &known, "spec");
        }
    }
}

/// The schema of the resource and its CEL rules take each result, and the Secrets and `ConfigMaps` are those that it names.
#[test]
fn results_are_admitted() {
    let certificates = tempfile::tempdir().unwrap();
    for (case, _) in CASES {
        let path = golden(case).join("expected.yaml");
        let documents = manifest::load(&[path], &mut std::io::empty()).unwrap();
        let jobs = manifest::validate(&documents, &[]).unwrap_or_else(|error| panic!("{case}: {error}"));
        let settings = manifest::LocalSettings {
            source_profile: None,
            destination_profile: None,
            ca_directory: certificates.path(),
        };
        let jobs = manifest::local_jobs(&documents, jobs, &settings).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(jobs.len(), if case == "awkward" { 2 } else { 1 }, "{case}");
    }
}

/// Checks that each field written is one of the resource: unknown ones would be gone after reading.
fn assert_fields(written: &Value, known: &Value, path: &str) {
    match (written, known) {
        (Value::Mapping(fields), known) => {
            for (name, value) in fields {
                let path = format!("{path}.{}", name.as_str().unwrap());
                assert_fields(value, &known[name], &path);
            }
        }
        (Value::Sequence(items), known) => {
            for (place, item) in items.iter().enumerate() {
                assert_fields(item, &known[place], path);
            }
        }
        (written, known) => assert_eq!(written, known, "{path}"),
    }
}

/// Returns all names in the files of a case.
fn names(case: &str) -> Vec<&'static str> {
    let files = std::fs::read_dir(golden(case)).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files
        .filter(|path| !path.ends_with("expected.yaml"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    SETTINGS.iter().map(|setting| setting.name).filter(|name| text.contains(name)).collect()
}

#[test]
fn nothing_is_dropped_without_a_word() {
    // What the Secret holds and what the pairs are made of is in the documents themselves; a program may name the list.
    let silent = [
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "region",
        "src_bucket",
        "src_prefix",
        "des_bucket",
        "aws_access_key_region",
        "s3_migration_ignore_list.txt",
    ];
    for (case, given) in CASES {
        let yaml = output(&args(case, given)).unwrap();
        let comments: String = yaml.lines().filter(|line| line.trim_start().starts_with('#')).collect();
        for name in names(case).into_iter().filter(|name| !silent.contains(name)) {
            assert!(comments.contains(name), "{case}: {name}");
        }
    }
    let awkward = output(&args("awkward", CASES[3].1)).unwrap();
    for said in [
        "not taken over: Custom_Setting = left over: the predecessor has no such setting",
        "not taken over: Proxy_Password = (hidden): ",
        "not taken over: Note = (hidden): ",
        r"not taken over: owner = me\u{a}kind: Secret of entry 1",
        "not taken over: entry 3, logs-a/app to archive/a/b: it repeats",
        "not taken over: entry 4, Legacy_Bucket/ to archive-2/: a bucket's name",
        "not taken over: entry 2, logs-z/ to archive-z/z in app.py: --bucket-para",
        "not taken over: StorageClass = STANDARD in app.py: the cluster configuration sets it too",
        "not taken over: comment = (hidden) in the credentials",
        "not taken over: pattern logs-b/[z-a] of the ignore list",
        "256 is the nearest value",
        "5Mi is the nearest value",
    ] {
        let flat = awkward.replace("\n# ", " ");
        assert!(flat.contains(said), "{said}\n{awkward}");
    }
}

#[test]
fn secrets_stand_in_the_secret_only() {
    for (case, given) in CASES {
        let yaml = output(&args(case, given)).unwrap();
        let comments: String = yaml.lines().filter(|line| line.trim_start().starts_with('#')).collect();
        for secret in SECRETS {
            assert!(!comments.contains(secret), "{case}");
        }
        let [secret] = <[Value; 1]>::try_from(of_kind(&yaml, "Secret")).unwrap();
        assert_eq!(secret["stringData"]["AWS_SECRET_ACCESS_KEY"], SECRETS[0], "{case}");
        let text = serde_yaml::to_string(&secret).unwrap();
        for document in documents(&yaml).iter().filter(|document| document["kind"] != "Secret") {
            let text = serde_yaml::to_string(document).unwrap();
            assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{case}");
        }
        assert!(text.contains(SECRETS[1]), "{case}");
    }
}

#[test]
fn the_stored_keys_belong_to_the_other_side() {
    let of = |case: usize| jobs(&output(&args(CASES[case].0, CASES[case].1)).unwrap()).remove(0).spec;
    let put = of(0);
    assert!(put.source.credentials.is_none() && put.destination.credentials.is_some());
    assert_eq!((put.source.region.as_str(), put.destination.region.as_str()), ("us-east-1", "cn-northwest-1"));
    let get = of(1);
    assert!(get.source.credentials.is_some() && get.destination.credentials.is_none());
    assert_eq!((get.source.region.as_str(), get.destination.region.as_str()), ("ap-northeast-1", "cn-northwest-1"));
    assert_eq!((get.queue.region.as_str(), get.trigger.schedule.as_deref()), ("cn-northwest-1", Some("0 * * * *")));
    assert_eq!(put.trigger.schedule, None);
}

#[test]
fn files_with_secrets_are_their_owners_only() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (case, given) = CASES[0];
    let (output, secrets) = (directory.path().join("job.yaml"), directory.path().join("secret.yaml"));
    std::fs::write(&secrets, "older").unwrap();
    let mut args = args(case, given);
    args.output.clone_from(&output);
    run(&args, &mut Vec::new()).unwrap();
    assert_eq!(mode(&output), 0o600);
    assert!(std::fs::read_to_string(&output).unwrap().contains(SECRETS[0]));

    args.secrets = Some(secrets.clone());
    run(&args, &mut Vec::new()).unwrap();
    assert_eq!(mode(&secrets), 0o600);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert!(!read(&output).contains(SECRETS[0]) && !read(&output).contains("kind: Secret"));
    assert!(read(&secrets).contains(SECRETS[0]) && documents(&read(&secrets)).len() == 1);

    args.secrets = Some(output);
    assert!(matches!(run(&args, &mut Vec::new()), Err(ImportError::OneFile(_))));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let list = file("list", r#"[{"src_bucket": "aaa", "des_bucket": "bbb"}]"#);
    let keys = file("keys", r#"{"aws_access_key_id": "hunter22", "aws_secret_access_key": "hunter22", "region": "r"}"#);
    let message = |options: &[(&str, &str)]| {
        let given = BTreeMap::from([
            ("--bucket-para", list.as_str()),
            ("--credentials", keys.as_str()),
            ("--region", "us-east-1"),
        ]);
        let mut given: BTreeMap<&str, &str> = given;
        given.extend(options.iter().copied());
        let given = given.into_iter().filter(|(_, value)| !value.is_empty());
        let given = given.map(|(name, value)| format!("{name}={value}"));
        let args = Cli::try_parse_from(std::iter::once("import-config".to_owned()).chain(given)).unwrap().args;
        output(&args).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(message(&[]), "");
    for (option, text, expected) in [
        ("--bucket-para", "[]", "failed to find buckets: no list was given"),
        ("--bucket-para", "{}", "failed to read the bucket list: it is not a list"),
        ("--bucket-para", "[", "failed to read the bucket list: it is not JSON at line 1, column 1"),
        ("--bucket-para", r#"[{"src_bucket": "aaa"}]"#, "failed to read the bucket list: entry 1 has no des_bucket"),
        ("--bucket-para", r#"[{"src_bucket": "A", "des_bucket": "bbb"}]"#, "no entry of the list can be taken over"),
        (
            "--credentials",
            r#"{"aws_access_key_id": "hunter22"#,
            "failed to read the credentials: they are not a JSON object",
        ),
        ("--credentials", r#"{"aws_access_key_id": "hunter22"}"#, "or aws_secret_access_key is missing"),
        ("--cluster-config", "[Basic]\nJobType = COPY", "failed to convert setting JobType: COPY is not PUT or GET"),
        ("--cluster-config", "[Mode]\nMaxRetry = many", "setting MaxRetry: many is not a whole number"),
        ("--cluster-config", "[Mode]\nStorageClass = COLD", "setting StorageClass: COLD is not a storage class"),
        ("--cluster-config", "[Mode]\nUpdateVersionId = maybe", "setting UpdateVersionId: maybe is not True or False"),
        ("--cluster-config", "[Debug]\nLoggingLevel = hunter22", "setting LoggingLevel: (hidden) is not WARNING"),
        ("--cluster-config", "[Basic", "failed to read the cluster configuration: line 1"),
        (
            "--serverless-env",
            "JobType",
            "failed to read the serverless environment: line 1 is not of the form NAME=VALUE",
        ),
    ] {
        let found = message(&[(option, &file("wrong", text))]);
        assert!(found.contains(expected), "{option} {text}: {found}");
        assert!(!found.contains("hunter22"), "{found}");
    }
    for (options, expected) in [
        (&[("--region", "")][..], "failed to find region of the side that the predecessor ran at"),
        (&[("--credentials", "")], "failed to find region of the stored credentials"),
        (&[("--region", "US East")], "failed to read region \"US East\""),
        (&[("--name", "Photos")], "failed to name job \"Photos\""),
        (&[("--bucket-para", "/nonexistent")], "failed to read /nonexistent"),
        (&[("--output", "/nonexistent/out")], "failed to write /nonexistent/out"),
    ] {
        let found = message(options);
        assert!(found.contains(expected), "{options:?}: {found}");
    }
    // Without keys the Secret is only referred to.
    assert_eq!(message(&[("--credentials", ""), ("--credentials-region", "cn-north-1")]), "");
}
