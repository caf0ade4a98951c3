//! `s3migrate iam-policy`: golden files per partition, and what must hold for any policy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue fails")]

use std::path::{Path, PathBuf};

use clap::Parser;
use s3migrate::iam_policy::{IamPolicyArgs, Input, Part, PolicyError, Range, Settings, Side, Topic, policies, run};
use serde_json::Value;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: IamPolicyArgs,
}

/// Name of the golden file, and the arguments.
const CASES: [(&str, &[&str]); 11] = [
    ("plain.all.json", &["all", "--file=plain.yaml", "--account=111122223333"]),
    ("everything.queue-policy.json", &["queue-policy", "--file=everything.yaml", "--account=111122223333"]),
    (
        "flags.queue-policy.json",
        &[
            "queue-policy",
            "--source-bucket=photos/a",
            "--source-bucket=photos/b",
            "--queue=work",
            "--region=cn-north-1",
            "--account=111122223333",
            "--source-account=444455556666",
        ],
    ),
    (
        "everything.all.json",
        &["all", "--file=everything.yaml", "--source-kms-key=arn:aws-us-gov:kms:us-gov-west-1:1:key/k-1"],
    ),
    (
        "everything.explain.txt",
        &["all", "--file=everything.yaml", "--source-kms-key=k-1", "--account=111122223333", "--explain"],
    ),
    ("list.all.json", &["all", "--file=list.yaml", "--dead-letter-queue=retry-dead"]),
    (
        "flags.all.json",
        &[
            "all",
            "--source-bucket=from/a?/",
            "--source-bucket=from/a?/b",
            "--destination-bucket=to",
            "--queue=work",
            "--table=ledger",
            "--region=cn-north-1",
            "--destination-region=us-gov-east-1",
            "--account=111122223333",
        ],
    ),
    ("roles.all.json", &["all", "--file=roles.yaml", "--account=111122223333"]),
    (
        "roles.source-trust.json",
        &["source-trust", "--file=roles.yaml", "--identity=arn:aws:iam::111122223333:role/workers"],
    ),
    ("roles.explain.txt", &["assume-role", "--file=roles.yaml", "--explain"]),
    ("flags.partition.json", &["source", "--source-bucket=from", "--region=us-iso-east-1", "--partition=aws-iso"]),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/iam_policy").join(name)
}

fn output(args: &[&str]) -> Result<String, PolicyError> {
    let file = |arg: &&str| match arg.strip_prefix("--file=") {
        Some(name) if !name.starts_with('/') => format!("--file={}", golden(name).display()),
        _ => (*arg).to_owned(),
    };
    let args = Cli::try_parse_from(std::iter::once("iam-policy".to_owned()).chain(args.iter().map(file))).unwrap().args;
    let mut out = Vec::new();
    run(&args, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn policies_are_the_golden_files() {
    for (name, args) in CASES {
        let (found, path) = (output(args).unwrap(), golden(name));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(found == expected, "{name} differs; set UPDATE_GOLDEN=1 to write it:\n{found}");
    }
}

#[test]
fn policies_around_roles_need_roles_and_an_identity() {
    for (args, expected) in [
        (&["assume-role", "--file=plain.yaml"][..], "the job names no role in credentials.assumeRole of either side"),
        (
            &["destination-trust", "--file=plain.yaml", "--identity=i"],
            "names no role in credentials.assumeRole of that",
        ),
        (&["source-trust", "--file=roles.yaml"], "give --identity"),
    ] {
        let error = output(args).unwrap_err().to_string();
        assert!(error.contains(expected), "{args:?}: {error}");
    }
}

/// Returns the actions of a part, with the ID of their statement.
fn actions(input: &Input, part: Part) -> Vec<String> {
    let policy = policies(input).into_iter().find(|policy| policy.part == part).unwrap();
    let document = policy.document().unwrap();
    let statements = document["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| {
        let sid = statement["Sid"].as_str().unwrap();
        statement["Action"].as_array().unwrap().iter().map(move |action| format!("{sid} {}", action.as_str().unwrap()))
    });
    actions.collect()
}

fn sides() -> Input {
    let side =
        |bucket: &str| Side { region: "us-east-1".into(), ranges: vec![Range::parse(bucket)], ..Side::default() };
    Input { source: side("from"), destination: side("to"), ..Input::default() }
}

#[test]
fn each_setting_adds_its_own_actions_and_no_others() {
    type Change = fn(&mut Input);
    let cases: [(Change, Part, &[&str]); 13] = [
        (
            |i| i.settings.tags = true,
            Part::Source,
            &["SourceObjects s3:GetObjectTagging", "SourceObjects s3:GetObjectVersionTagging"],
        ),
        (|i| i.settings.tags = true, Part::Destination, &["DestinationObjects s3:PutObjectTagging"]),
        (
            |i| i.settings.object_lock = true,
            Part::Source,
            &["SourceObjects s3:GetObjectRetention", "SourceObjects s3:GetObjectLegalHold"],
        ),
        (|i| i.settings.acl = true, Part::Destination, &["DestinationObjects s3:PutObjectAcl"]),
        (|i| i.settings.compares_versions = true, Part::Source, &["SourceBuckets s3:ListBucketVersions"]),
        (|i| i.settings.reads_versions = true, Part::Source, &["SourceObjects s3:GetObjectVersion"]),
        (
            |i| i.settings.notifications = true,
            Part::Source,
            &["SourceBuckets s3:GetBucketNotification", "SourceBuckets s3:PutBucketNotification"],
        ),
        (|i| i.settings.mirror = true, Part::Destination, &["DestinationObjects s3:DeleteObject"]),
        (
            |i| i.settings.server_side = true,
            Part::Destination,
            &["SourceObjects s3:GetObject", "SourceObjects s3:GetObjectTagging"],
        ),
        (|i| i.source.kms_key = Some("k".into()), Part::Source, &["SourceKey kms:Decrypt"]),
        (
            |i| i.destination.kms_key = Some("k".into()),
            Part::Destination,
            &["DestinationKey kms:GenerateDataKey", "DestinationKey kms:Decrypt"],
        ),
        (
            |i| i.settings.report = Some(Range::parse("reports/x")),
            Part::Destination,
            &[
                "ReportBucket s3:ListBucket",
                "ReportObjects s3:PutObject",
                "ReportObjects s3:GetObject",
                "ReportObjects s3:DeleteObject",
            ],
        ),
        (
            |i| i.settings.topic = Some(Topic { arn: "arn:aws:sns:r:1:t".into(), has_credentials: false }),
            Part::Operator,
            &["Topic sns:Publish"],
        ),
    ];
    for (change, part, expected) in cases {
        let (before, mut input) = (sides(), sides());
        change(&mut input);
        let before = actions(&before, part);
        let added: Vec<_> = actions(&input, part).into_iter().filter(|action| !before.contains(action)).collect();
        assert_eq!(added, expected);
        for other in Part::ALL.into_iter().filter(|other| *other != part) {
            let is_both = input.settings.tags || input.settings.object_lock;
            assert!(is_both || actions(&input, other) == actions(&sides(), other), "{other:?}");
        }
    }
}

#[test]
fn what_the_operator_creates_it_deletes_unless_it_stays() {
    let mut input = Input::of_job(&job(), None).unwrap();
    let deletes =
        |input: &Input| actions(input, Part::Operator).iter().filter(|action| action.contains("Delete")).count();
    // Two queues and a table.
    assert_eq!(deletes(&input), 3);
    input.settings.retains = true;
    assert_eq!(deletes(&input), 0);
    input.settings = Settings { own_queue: false, own_table: false, ..input.settings };
    let left = actions(&input, Part::Operator);
    assert!(left.iter().all(|action| !action.contains("Create") && !action.contains("Tag")), "{left:?}");
    assert_eq!(left.iter().filter(|action| action.contains("GetQueueUrl")).count(), 1);
}

fn job() -> migration_api::MigrationJob {
    let text = std::fs::read_to_string(golden("everything.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

#[test]
fn every_policy_says_which_request_needs_it() {
    let explained = output(&["all", "--file=everything.yaml", "--source-kms-key=k-1", "--explain"]).unwrap();
    let all: Value =
        serde_json::from_str(&output(&["all", "--file=everything.yaml", "--source-kms-key=k-1"]).unwrap()).unwrap();
    let mut actions = 0;
    for (part, document) in all.as_object().unwrap() {
        let of_part = explained.split("\n\n").find(|text| text.starts_with(&format!("{part}\n"))).unwrap();
        for action in document["Statement"].as_array().unwrap().iter().flat_map(|one| one["Action"].as_array().unwrap())
        {
            assert!(of_part.contains(&format!("    {}: for ", action.as_str().unwrap())), "{part} {action}");
            actions += 1;
        }
    }
    assert_eq!(explained.matches(": for ").count(), actions);
}

#[test]
fn nothing_is_allowed_on_everything() {
    for (name, args) in CASES.into_iter().filter(|(name, _)| name.ends_with("all.json")) {
        let all: Value = serde_json::from_str(&output(args).unwrap()).unwrap();
        for (part, document) in all.as_object().unwrap() {
            for statement in document["Statement"].as_array().unwrap() {
                for action in statement["Action"].as_array().unwrap() {
                    assert!(!action.as_str().unwrap().contains('*'), "{name} {part} {action}");
                }
                for resource in statement["Resource"].as_array().unwrap() {
                    let fields: Vec<_> = resource.as_str().unwrap().splitn(6, ':').collect();
                    assert!(fields.len() == 6 && fields[1] != "*" && fields[5] != "*", "{name} {part} {resource}");
                }
            }
        }
    }
}

#[test]
fn what_is_unknown_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("--file={}", path.display())
    };
    let plain = std::fs::read_to_string(golden("plain.yaml")).unwrap();
    let two = file("two", &format!("{plain}---\n{}", plain.replace("name: photos", "name: other")));
    let none = file("none", "kind: Secret");
    let bad = file("bad", "kind: Secret\n---\nkind: MigrationJob\nspec: 1");
    let with_uid = plain.replace("name: photos", "name: photos, uid: u-1");
    let elsewhere = file("elsewhere", &with_uid.replace("queue: {region: eu-central-1}", "queue: {region: eu-west-1}"));
    for (args, expected) in [
        (
            &["source"][..],
            "failed to write policy source: the source buckets are unknown; give --file or --source-bucket",
        ),
        (&["queue", "--source-bucket=b"], "failed to write policy queue: the queue is unknown"),
        (&["all", "--source-bucket=b"], "failed to write policy destination: the destination buckets are unknown"),
        (&["queue-policy", "--file=everything.yaml"], "the account of the queue is unknown; give --account"),
        (&["queue-policy", "--file=plain.yaml", "--account=1"], "kubectl get migrationjob"),
        (&["queue-policy", "--queue=q"], "the source buckets are unknown"),
        (&["queue-policy", &elsewhere, "--account=1"], "the queue is in eu-west-1 and the source in eu-central-1"),
        (&["source", "--file=list.yaml"], "failed to name the dead letter queue"),
        (&["source", "--file=/nonexistent"], "failed to read /nonexistent"),
        (&["source", &none], "it has none"),
        (&["source", &two], "choose one of photos, other by --name"),
        (&["source", &two, "--name=third"], "choose one of photos, other by --name"),
        (&["source", &bad], "document 2: "),
    ] {
        let message = output(args).unwrap_err().to_string();
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(output(&["source", &two, "--name=other"]).is_ok());
}
