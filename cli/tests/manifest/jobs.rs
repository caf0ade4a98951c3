//! Jobs with their credentials, certificates and lists.

use std::os::unix::fs::PermissionsExt;

use migration_aws::{CredentialSource, StaticKeys};
use migration_core::config::{Credentials, MirrorSettings};
use s3migrate::manifest::{LocalJob, LocalSettings, ManifestError, local_jobs, validate};

use crate::support::{Files, documents, job};

const OBJECTS: &str = "---
{apiVersion: v1, kind: Secret, metadata: {name: from}, stringData: {AWS_ACCESS_KEY_ID: ' AKIA1 ',
  AWS_SECRET_ACCESS_KEY: \"s1\\n\", AWS_SESSION_TOKEN: t1}}
---
{apiVersion: v1, kind: Secret, metadata: {name: to}, data: {AWS_ACCESS_KEY_ID: QUtJQTI=, AWS_SECRET_ACCESS_KEY: czI=}}
---
{apiVersion: v1, kind: Secret, metadata: {name: half}, stringData: {AWS_ACCESS_KEY_ID: AKIA3,
  AWS_SECRET_ACCESS_KEY: ' '}}
---
{apiVersion: v1, kind: Secret, metadata: {name: away, namespace: media}, stringData: {AWS_ACCESS_KEY_ID: AKIA4}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: lists}, data: {ignore: \"b/*.tmp\\n\\nb/#x\\n\", ca: nonsense}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: authorities}
data:
  own.pem: |
    -----BEGIN CERTIFICATE-----
    MIIB
    -----END CERTIFICATE-----
";

/// Returns the job with these fields, on its own or together with [`OBJECTS`].
fn local(files: &Files, text: &str, profiles: [Option<&str>; 2]) -> Result<LocalJob, ManifestError> {
    let documents = documents(&format!("{text}{OBJECTS}"));
    let jobs = validate(&documents, &[]).unwrap();
    let [source_profile, destination_profile] = profiles;
    let settings = LocalSettings { source_profile, destination_profile, ca_directory: files.directory() };
    local_jobs(&documents, jobs, &settings).map(|mut jobs| jobs.remove(0))
}

/// A job whose source and destination have these fields besides their region.
fn sides(source: &str, destination: &str) -> String {
    job("")
        .replace("source: {region: us-east-1", &format!("source: {{region: us-east-1, {source}"))
        .replace("destination: {region: cn-north-1", &format!("destination: {{region: cn-north-1, {destination}"))
}

fn keys(id: &str, secret: &str, token: Option<&str>) -> CredentialSource {
    let session_token = token.map(ToOwned::to_owned);
    CredentialSource::Static(StaticKeys { access_key_id: id.into(), secret_access_key: secret.into(), session_token })
}

#[test]
fn credentials_are_those_of_the_secrets_and_else_the_usual_ones() {
    let files = Files::new();
    let text = sides("credentials: {secretRef: {name: from}}", "credentials: {secretRef: {name: to}}");
    let both = local(&files, &text, [None, None]).unwrap();
    assert_eq!((&both.source, &both.destination), (&keys("AKIA1", "s1", Some("t1")), &keys("AKIA2", "s2", None)));
    let named = |job: &LocalJob| match &job.config.source.service.credentials {
        Credentials::Directory { secret, .. } => secret.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&both).as_deref(), Some("from"), "the Secret's name tells whose credentials they are");
    let usual = local(&files, &job(""), [None, None]).unwrap();
    assert_eq!((usual.source, usual.destination), (CredentialSource::Pod, CredentialSource::Pod));
    let anonymous = local(&files, &sides("credentials: {anonymous: {}}", ""), [None, None]).unwrap();
    assert_eq!(anonymous.source, CredentialSource::Anonymous);
    assert_eq!(anonymous.config.source.service.credentials, Credentials::Anonymous);
}

#[test]
fn a_profile_replaces_what_the_resource_names_for_its_side_only() {
    let files = Files::new();
    let text = sides("credentials: {secretRef: {name: absent}}", "credentials: {secretRef: {name: to}}");
    let job = local(&files, &text, [Some("work"), None]).unwrap();
    assert_eq!(job.source, CredentialSource::Profile("work".into()));
    assert_eq!(job.config.source.service.credentials, Credentials::Profile { name: "work".into() });
    assert_eq!(job.destination, keys("AKIA2", "s2", None));
    let same = local(&files, &text, [Some("work"), Some("work")]).unwrap();
    let other = local(&files, &text, [Some("work"), Some("home")]).unwrap();
    assert_eq!(same.config.source.service.credentials, same.config.destination.service.credentials);
    assert_ne!(other.config.source.service.credentials, other.config.destination.service.credentials);
}

#[test]
fn what_the_files_lack_is_named_with_what_to_do() {
    let files = Files::new();
    let secret = |name: &str| sides(&format!("credentials: {{secretRef: {{name: {name}}}}}"), "");
    for (text, expected) in [
        (
            secret("absent"),
            "job photos: Secret absent of spec.source.credentials is in none of the files; name the file that has it, \
             or use --source-profile",
        ),
        (secret("half"), "Secret half of spec.source.credentials has no key AWS_SECRET_ACCESS_KEY, or it is empty"),
        (secret("away"), "Secret away of spec.source.credentials is in namespace media, and the job in default"),
        (
            job("filters: {ignoreFrom: {configMapKeyRef: {name: absent, key: k}}},"),
            "ConfigMap absent of spec.filters.ignoreFrom is in none of the files",
        ),
        (
            job("filters: {ignoreFrom: {configMapKeyRef: {name: lists, key: k}}},"),
            "ConfigMap lists of spec.filters.ignoreFrom has no key k",
        ),
        (
            sides("caBundle: {configMapKeyRef: {name: lists, key: ca}}", ""),
            "ConfigMap lists of spec.source.caBundle has no certificate in PEM under the key ca",
        ),
        (
            sides("", "caBundle: {secretKeyRef: {name: absent, key: ca}}"),
            "Secret absent of spec.destination.caBundle is in none of the files",
        ),
        (job("filters: {ignore: ['b/[z-a]']},"), "b/[z-a]"),
    ] {
        let found = local(&files, &text, [None, None]).unwrap_err().to_string();
        assert!(found.contains(&expected.replace("job photos", "MigrationJob photos")), "{expected:?}: {found}");
        assert!(!found.contains("AKIA"), "{found}");
    }
}

#[test]
fn a_suspended_job_is_refused() {
    let error = local(&Files::new(), &job("suspend: true,"), [None, None]).unwrap_err();
    assert!(matches!(&error, ManifestError::Suspended(name) if name == "photos"), "{error}");
    assert!(error.to_string().contains("spec.suspend is true"), "{error}");
}

#[test]
fn a_job_that_follows_events_is_refused() {
    let error = local(&Files::new(), &job("trigger: {events: {enabled: true}},"), [None, None]).unwrap_err();
    assert!(matches!(&error, ManifestError::Events(name) if name == "photos"), "{error}");
    assert!(error.to_string().contains("S3 can't send events to a run on one machine"), "{error}");
    assert!(local(&Files::new(), &job("trigger: {events: {enabled: false}},"), [None, None]).is_ok());
}

#[test]
fn certificates_are_files_that_only_this_user_reads() {
    let files = Files::new();
    let text = sides("caBundle: {configMapKeyRef: {name: authorities, key: own.pem}}", "");
    for _ in 0..2 {
        let job = local(&files, &text, [None, None]).unwrap();
        let path = &job.config.source.ca_bundle.as_ref().unwrap().path;
        assert!(path.starts_with(files.directory()), "{}", path.display());
        assert!(std::fs::read_to_string(path).unwrap().starts_with("-----BEGIN CERTIFICATE-----\nMIIB\n"));
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(job.config.destination.ca_bundle, None);
    }
}

#[test]
fn the_configuration_has_local_names_and_all_settings() {
    let text = job("filters: {ignore: ['b/a'], ignoreFrom: {configMapKeyRef: {name: lists, key: ignore}}}, mirror: \
         {deleteExtraneous: true, maxDeletes: 7},")
    .replace("queue: {", "queue: {credentials: {secretRef: {name: absent}}, ");
    let job = local(&Files::new(), &text, [None, None]).unwrap();
    assert_eq!(job.config.ignore, ["b/a", "b/*.tmp", "b/#x"]);
    assert_eq!(job.config.mirror, Some(MirrorSettings { max_deletes: 7 }));
    assert_eq!(job.config.queue.url, "local:queue");
    assert_eq!(job.config.queue.dead_letter_url, "local:dead-letters");
    assert_eq!(job.config.ledger.table, "local");
    assert_eq!(job.config.queue.service.credentials, Credentials::Pod, "keys of a queue are not needed");
}

#[test]
fn fields_without_a_meaning_are_named_where_they_are_set() {
    let not_used = |more: &str| local(&Files::new(), &job(more), [None, None]).unwrap().not_used;
    assert_eq!(not_used(""), ["queue", "ledger"]);
    assert_eq!(not_used("scaling: {maxReplicas: 10}, worker: {}, deletionPolicy: Delete,"), ["queue", "ledger"]);
    let all = not_used(
        "scaling: {maxReplicas: 3}, worker: {image: a}, jobsender: {image: b}, deletionPolicy: Retain, trigger: \
         {schedule: '@daily', startingDeadlineSeconds: 60, manual: now},",
    );
    let expected = [
        "queue",
        "ledger",
        "scaling",
        "worker",
        "jobsender",
        "deletionPolicy",
        "trigger.startingDeadlineSeconds",
        "trigger.manual",
    ];
    assert_eq!(all, expected);
}

#[test]
fn the_uid_is_always_the_same_for_one_namespace_and_name() {
    let uid = |text: &str| {
        let job = local(&Files::new(), text, [None, None]).unwrap();
        assert_eq!(job.job.metadata.uid.as_ref(), Some(&job.config.job.uid));
        job.config.job.uid.clone()
    };
    let first = uid(&job(""));
    // The first bits of the SHA-256 of "default/photos", with version and variant. Records are kept under it.
    assert_eq!(first, "02bceaf4-36f6-8363-9956-3c187911ae3c");
    assert_eq!(uid(&job("compare: Size,")), first);
    assert_ne!(uid(&job("").replace("{name: photos}", "{name: films}")), first);
    assert_ne!(uid(&job("").replace("{name: photos}", "{name: photos, namespace: media}")), first);
}
