use super::*;
use migration_api::transfer::{ChecksumMode, Preserve as ApiPreserve};
use migration_core::compare::CompareMode;
use migration_core::config::{
    Encryption, MirrorSettings, ObjectFilter, OnLoss, Preserve, S3Side, TransferMode, Versioning, WriteSettings,
};

pub(crate) fn resource() -> MigrationJob {
    serde_yaml::from_str(
        r"
apiVersion: s3migration.dev/v1alpha1
kind: MigrationJob
metadata: {name: photos, namespace: media, uid: u-1, generation: 3}
spec:
  buckets: [{sourceBucket: a, destinationBucket: b, destinationPrefix: p/}]
  source: {region: eu-central-1, credentials: {secretRef: {name: from}}}
  destination: {region: us-east-1, endpoint: 'http://s3:9000', pathStyle: true, storageClass: STANDARD_IA, credentials: {secretRef: {name: to}}}
  queue: {region: us-east-1, endpoint: 'http://sqs', credentials: {secretRef: {name: queue}}}
  ledger: {region: us-east-1}
",
    )
    .unwrap()
}

pub(crate) fn queue_and_table() -> QueueAndTable {
    QueueAndTable {
        queue_url: "http://q/1".into(),
        dead_letter_url: "http://q/1-dlq".into(),
        table: "t".into(),
        queue_arn: Some("arn:aws:sqs:eu-central-1:1:q".into()),
    }
}

pub(crate) fn input() -> ValidateInput {
    ValidateInput { queue_and_table: queue_and_table(), ..ValidateInput::default() }
}

pub(crate) fn validated(change: impl FnOnce(&mut MigrationJob)) -> ValidatedJob {
    let mut job = resource();
    change(&mut job);
    validate(&job, &input(), &PodDefaults::new("worker:1")).unwrap()
}

#[test]
fn the_programs_are_told_what_the_resource_says() {
    let job = validated(|job| job.spec.source.credentials.as_mut().unwrap().secret_ref = None);
    let config: JobConfig = serde_yaml::from_str(&job.config).unwrap();
    assert_eq!(config.job.uid, "u-1");
    assert_eq!(config.source.service.credentials, Credentials::Anonymous);
    let destination = Credentials::Directory {
        path: format!("{CREDENTIALS_DIRECTORY}/destination").into(),
        secret: Some("to".into()),
    };
    assert_eq!(config.destination.service.credentials, destination);
    assert_eq!(config.ledger.service.credentials, Credentials::Pod);
    assert_eq!((config.write.storage_class.as_deref(), config.destination.path_style), (Some("STANDARD_IA"), true));
    assert_eq!((config.queue.dead_letter_url.as_str(), config.ledger.table.as_str()), ("http://q/1-dlq", "t"));
    assert_eq!(config.transfer.memory_limit, ByteSize::mib(256));
    let secrets: Vec<_> = job.secrets.iter().map(|(side, name)| (*side, name.as_str())).collect();
    assert_eq!(secrets, [(Service::Destination, "to"), (Service::Queue, "queue")]);
}

#[test]
fn filters_and_the_way_to_compare_reach_the_programs() {
    let job = validated(|job| {
        job.spec.filters = serde_yaml::from_str(
            "{minSize: 1Ki, maxSize: 2Mi, modifiedAfter: '1970-01-01T00:00:01Z', modifiedBefore: \
             '1970-01-01T00:00:02.5Z', storageClasses: [GLACIER]}",
        )
        .unwrap();
        job.spec.compare = CompareMode::Checksum;
    });
    let config: JobConfig = serde_yaml::from_str(&job.config).unwrap();
    let expected = ObjectFilter {
        min_size: Some(1_024),
        max_size: Some(2 << 20),
        modified_after: Some(1_000),
        modified_before: Some(2_500),
        storage_classes: vec!["GLACIER".into()],
    };
    assert_eq!((config.filter, config.compare), (expected, CompareMode::Checksum));
}

#[test]
fn settings_of_the_transfer_reach_the_programs() {
    let config_of = |change: fn(&mut MigrationJobSpec)| -> JobConfig {
        serde_yaml::from_str(&validated(|job| change(&mut job.spec)).config).unwrap()
    };
    let config = config_of(|_| ());
    let expected = WriteSettings { storage_class: Some("STANDARD_IA".into()), ..WriteSettings::default() };
    assert_eq!((config.write, config.versioning), (expected, Versioning::default()));
    assert_eq!((config.transfer.split_threshold, config.transfer.mode), (ByteSize::mib(8 << 10), TransferMode::Auto));
    assert!(config.transfer.compare_checksums);
    assert_eq!(config.transfer.preserve, Preserve::default());
    let config = config_of(|spec| {
        spec.destination = serde_json::from_value(serde_json::json!({
            "region": "us-east-1", "acl": "bucket-owner-full-control",
            "encryption": {"type": "DSSE-KMS", "kmsKeyId": "alias/copies"},
        }))
        .unwrap();
        spec.versioning.update_version_id = true;
        spec.transfer.split_threshold = ByteSize::mib(64);
        spec.transfer.mode = TransferMode::Stream;
        spec.transfer.checksum = ChecksumMode::Written;
        spec.transfer.preserve = ApiPreserve { metadata: false, tags: false, object_lock: true, on_loss: OnLoss::Fail };
    });
    let encryption = Encryption::DualKms { kms_key_id: Some("alias/copies".into()) };
    let acl = Some("bucket-owner-full-control".into());
    assert_eq!(config.write, WriteSettings { storage_class: None, encryption: Some(encryption), acl });
    assert_eq!(config.versioning, Versioning { update_version_id: true, ..Versioning::default() });
    assert_eq!((config.transfer.split_threshold, config.transfer.mode), (ByteSize::mib(64), TransferMode::Stream));
    assert!(!config.transfer.compare_checksums);
    let expected = Preserve { metadata: false, tags: false, object_lock: true, on_loss: OnLoss::Fail };
    assert_eq!(config.transfer.preserve, expected);
}

#[test]
fn every_example_can_be_built() {
    let mut number = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).unwrap() {
        let path = entry.unwrap().path();
        let mut job: MigrationJob = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        job.metadata.namespace = Some("n".into());
        job.metadata.uid = Some("u".into());
        assert!(validate(&job, &input(), &PodDefaults::new("i")).is_ok(), "{}", path.display());
        number += 1;
    }
    assert!(number >= 4, "only {number} examples were read");
}

#[test]
fn a_change_shows_in_the_hash_and_nothing_else_does() {
    let hash = |change: fn(&mut MigrationJob)| validated(change).config_hash;
    assert_eq!(hash(|_| ()), hash(|job| job.spec.scaling.max_replicas = 3));
    assert_ne!(hash(|_| ()), hash(|job| job.spec.transfer.max_attempts = 3));
}

#[test]
fn what_the_schema_cannot_refuse_is_refused_here() {
    let refused = |change: fn(&mut MigrationJob)| {
        let mut job = resource();
        change(&mut job);
        validate(&job, &input(), &PodDefaults::new("i")).unwrap_err().to_string()
    };
    assert!(refused(|job| job.spec.filters.ignore = vec!["a/[z-a]".into()]).contains("a/[z-a]"));
    assert!(refused(|job| job.spec.filters.ignore = vec!["x".repeat(2_000); 600]).contains("ConfigMap holds"));
    assert!(refused(|job| job.spec.transfer.split_threshold = ByteSize::mib(1)).contains("splitThreshold"));
    assert!(refused(|job| job.metadata.uid = None).contains("no UID"));
    let wrong = refused(|job| job.spec.jobsender = serde_yaml::from_str("affinity: {nodeAffinity: 7}").unwrap());
    assert!(
        wrong.starts_with("failed to validate spec.jobsender.affinity: failed to read affinity at nodeAffinity:"),
        "{wrong}"
    );
    let nowhere = refused(|job| {
        let terms = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}}";
        job.spec.worker = serde_yaml::from_str(terms).unwrap();
    });
    let place = "podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: it is missing or empty";
    assert!(nowhere.contains("spec.worker.affinity") && nowhere.contains(place), "{nowhere}");
    let unknown = refused(|job| {
        job.spec.worker = serde_yaml::from_str("affinity: {nodeAffinity: {required: {}}}").unwrap();
    });
    assert!(unknown.contains("spec.worker.affinity") && unknown.contains("has no nodeAffinity.required;"), "{unknown}");
}

#[test]
fn patterns_mirror_and_pace_reach_the_programs() {
    let mut job = resource();
    job.spec.filters.ignore = vec!["a/*.tmp".into()];
    job.spec.mirror =
        migration_api::verify::Mirror { delete_extraneous: true, max_deletes: Some(7), delete_events: false };
    job.spec.limits.backlog_seconds = 60;
    let config_of = |job: &MigrationJob| -> JobConfig {
        serde_yaml::from_str(
            &validate(
                job,
                &ValidateInput { ignore_patterns: vec!["a/x".to_owned()], ..input() },
                &PodDefaults::new("i"),
            )
            .unwrap()
            .config,
        )
        .unwrap()
    };
    let config = config_of(&job);
    assert_eq!(config.ignore, ["a/*.tmp", "a/x"]);
    assert_eq!((config.mirror, config.backlog_seconds), (Some(MirrorSettings { max_deletes: 7 }), Some(60)));
    job.spec.mirror.delete_extraneous = false;
    assert_eq!(config_of(&job).mirror, None);
}

#[test]
fn payer_certificates_and_proxy_of_a_side_reach_the_programs_and_their_pods() {
    let job = validated(|job| {
        job.spec.source.requester_pays = true;
        job.spec.source.ca_bundle =
            Some(serde_yaml::from_str("{configMapKeyRef: {name: authorities, key: own.pem}}").unwrap());
        job.spec.destination.ca_bundle =
            Some(serde_yaml::from_str("{secretKeyRef: {name: hidden, key: ca.pem}}").unwrap());
        job.spec.destination.proxy = Some("http://proxy:3128".into());
    });
    let config: JobConfig = serde_yaml::from_str(&job.config).unwrap();
    let path = |side: &S3Side| side.ca_bundle.as_ref().unwrap().path.display().to_string();
    assert_eq!((config.source.requester_pays, config.destination.requester_pays), (true, false));
    assert_eq!(path(&config.source), "/var/run/s3-migration/ca/source/ca.crt");
    assert_eq!(path(&config.destination), "/var/run/s3-migration/ca/destination/ca.crt");
    assert_eq!((config.source.proxy, config.destination.proxy.as_deref()), (None, Some("http://proxy:3128")));
    let pod = serde_json::to_value(crate::job_controller::build::deployment::build(&job).spec.template).unwrap();
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let items = |key: &str| serde_json::json!([{"key": key, "path": "ca.crt"}]);
    let found = |name: &str| volumes.iter().find(|volume| volume["name"] == name).unwrap();
    assert_eq!(found("source-ca")["configMap"], serde_json::json!({"name": "authorities", "items": items("own.pem")}));
    let secret = &found("destination-ca")["secret"];
    assert_eq!((&secret["secretName"], &secret["items"]), (&"hidden".into(), &items("ca.pem")));
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == "destination-ca").unwrap();
    assert_eq!(mount["mountPath"], "/var/run/s3-migration/ca/destination");
}

#[test]
fn new_certificates_start_pods_anew() {
    let template = |version: &str| {
        let input = ValidateInput { ca_version: Some(version.into()), ..input() };
        crate::job_controller::build::deployment::build(&validate(&resource(), &input, &PodDefaults::new("i")).unwrap())
            .spec
            .template
    };
    assert_eq!(template("a"), template("a"));
    assert_ne!(template("a"), template("b"));
}

#[test]
fn a_run_keeps_its_sides_with_keys_certificates_and_all_settings_of_now() {
    let before = validated(|job| {
        job.spec.destination.ca_bundle = Some(serde_yaml::from_str("{secretKeyRef: {name: h, key: k}}").unwrap());
    });
    let mut job = resource();
    job.spec.destination.endpoint = Some("http://elsewhere".into());
    job.spec.destination.credentials.as_mut().unwrap().secret_ref.as_mut().unwrap().name = "other".into();
    job.spec.transfer.max_attempts = 3;
    let input = ValidateInput { sides: Some(before.sides.clone()), ..input() };
    let kept = validate(&job, &input, &PodDefaults::new("i")).unwrap();
    let config: JobConfig = serde_yaml::from_str(&kept.config).unwrap();
    assert_eq!((kept.sides, kept.secrets, kept.ca_bundles), (before.sides, before.secrets, before.ca_bundles));
    assert_eq!(config.destination.service.endpoint.as_deref(), Some("http://s3:9000"));
    assert_eq!(config.transfer.max_attempts, 3);
}
