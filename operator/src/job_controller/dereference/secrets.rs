//! The Secrets of a job: checks that they are complete, and takes the operator's keys for queue and ledger from them.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use migration_api::services::{Credentials, KeyCredentials};
use migration_api::{MigrationJobSpec, Reason};
use migration_aws::{CredentialSource, StaticKeys};
use migration_core::config::{ACCESS_KEY_FILE, SECRET_KEY_FILE, SESSION_TOKEN_FILE};
use migration_core::error::Service;
use sha2::{Digest, Sha256};

use crate::job_controller::kubernetes::{self, RequestError};
use crate::problem::Problem;

/// The Secrets of a job.
pub struct Secrets {
    /// Credentials for the queue; none if its Secret cannot be used.
    pub queue: Option<CredentialSource>,
    /// Credentials for the ledger; none if its Secret cannot be used.
    pub ledger: Option<CredentialSource>,
    /// The digests of what pods read of each.
    pub digests: Vec<(Service, String)>,
    /// Secrets that are missing or incomplete.
    pub problems: Vec<Problem>,
}

/// Returns the name of the Secret of each service, if it needs one.
pub fn names(spec: &MigrationJobSpec) -> [(Service, Option<&str>); 4] {
    [
        (Service::Source, s3_secret(spec.source.credentials.as_ref())),
        (Service::Destination, s3_secret(spec.destination.credentials.as_ref())),
        (Service::Queue, key_secret(spec.queue.credentials.as_ref())),
        (Service::Ledger, key_secret(spec.ledger.credentials.as_ref())),
    ]
}

fn s3_secret(credentials: Option<&Credentials>) -> Option<&str> {
    Some(credentials?.secret_ref.as_ref()?.name.as_str())
}

fn key_secret(credentials: Option<&KeyCredentials>) -> Option<&str> {
    Some(credentials?.secret_ref.name.as_str())
}

/// Reads the Secrets by name each time: to watch them would need the permission to read all Secrets.
pub async fn read(api: &Api<Secret>, spec: &MigrationJobSpec) -> Result<Secrets, RequestError> {
    let mut secrets = Secrets {
        queue: Some(CredentialSource::Pod),
        ledger: Some(CredentialSource::Pod),
        digests: Vec::new(),
        problems: Vec::new(),
    };
    for (side, name) in names(spec) {
        let Some(name) = name else { continue };
        let secret = kubernetes::get(api, name).await?;
        secrets.digests.push((side, digest(name, secret.as_ref())));
        let keys = match check(side, name, secret.as_ref()) {
            Ok(keys) => Some(CredentialSource::Static(keys)),
            Err(problem) => {
                secrets.problems.push(problem);
                None
            }
        };
        match side {
            Service::Queue => secrets.queue = keys,
            Service::Ledger => secrets.ledger = keys,
            Service::Source | Service::Destination => {}
        }
    }
    Ok(secrets)
}

impl Secrets {
    /// Returns a text that changes when the content of a Secret changes; none if the job names none.
    pub fn version(&self) -> Option<String> {
        version(self.digests.iter())
    }

    /// Returns the same of the Secrets that a preflight uses: those of the buckets and of the ledger.
    pub fn tried_version(&self) -> Option<String> {
        version(self.digests.iter().filter(|(side, _)| *side != Service::Queue))
    }
}

fn version<'a>(digests: impl Iterator<Item = &'a (Service, String)>) -> Option<String> {
    let all = digests.fold(String::new(), |all, (side, digest)| all + &format!("{side}/{digest};"));
    (!all.is_empty()).then(|| hex::encode(Sha256::digest(all)).chars().take(16).collect())
}

/// Returns a digest of what pods read of a Secret. Its metadata, which tools change all the time, is not part of it.
///
/// What follows from the digest is in the status and in annotations, for more people than may read the Secret. So it is
/// keyed: by the Secret's UID, 122 random bits that only the Secret shows. Without them no guess of a password can be
/// checked against it. Who read the Secret once knows them, also after its content changed (docs/SECURITY.md,
/// "Secrets"). A Secret that was deleted and created again counts as changed.
fn digest(name: &str, secret: Option<&Secret>) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &[u8]| {
        digest.update(text.len().to_be_bytes());
        digest.update(text);
    };
    add(name.as_bytes());
    let metadata = secret.map(|secret| &secret.metadata);
    match (secret, metadata.and_then(|metadata| metadata.uid.as_deref())) {
        (Some(secret), Some(uid)) => {
            add(uid.as_bytes());
            for file in [ACCESS_KEY_FILE, SECRET_KEY_FILE, SESSION_TOKEN_FILE] {
                add(value(secret, file).unwrap_or_default().as_bytes());
            }
        }
        // Nothing of it is hashed without a key.
        _ => add(metadata.and_then(|metadata| metadata.resource_version.as_deref()).unwrap_or_default().as_bytes()),
    }
    hex::encode(digest.finalize()).chars().take(16).collect()
}

/// Returns what a key of a Secret holds, if that is text. White space around it is removed, as workers do.
fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
    let text = std::str::from_utf8(&bytes.0).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Returns the keys of a Secret, or what is wrong with it.
fn check(side: Service, name: &str, secret: Option<&Secret>) -> Result<StaticKeys, Problem> {
    let Some(secret) = secret else {
        let message = format!(
            "Secret {name} of spec.{side}.credentials does not exist in this namespace: create it with the keys \
             {ACCESS_KEY_FILE} and {SECRET_KEY_FILE}"
        );
        return Err(Problem::new(Reason::SecretMissing, message));
    };
    let value = |key: &str| value(secret, key).map(ToOwned::to_owned);
    let (access, secret_key) = (value(ACCESS_KEY_FILE), value(SECRET_KEY_FILE));
    match (access, secret_key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(StaticKeys { access_key_id, secret_access_key, session_token: value(SESSION_TOKEN_FILE) })
        }
        (access, secret_key) => {
            let absent = [(access, ACCESS_KEY_FILE), (secret_key, SECRET_KEY_FILE)];
            let absent: Vec<_> = absent.into_iter().filter(|(value, _)| value.is_none()).map(|(_, key)| key).collect();
            let message = format!(
                "Secret {name} of spec.{side}.credentials has no key {}, or it is empty: add it",
                absent.join(" and ")
            );
            Err(Problem::new(Reason::SecretIncomplete, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(keys: &[(&str, &str)]) -> Secret {
        let data = keys.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    const UID: &str = "0b6c3a52-8f1e-4d8e-9a57-3f2b1c4d5e6f";

    fn stored(uid: &str, version: &str, keys: &[(&str, &str)]) -> Secret {
        let mut secret = secret(keys);
        (secret.metadata.uid, secret.metadata.resource_version) = (Some(uid.into()), Some(version.into()));
        secret
    }

    #[test]
    fn only_what_pods_read_of_a_secret_changes_its_version() {
        let keys = [(ACCESS_KEY_FILE, "AKIA"), (SECRET_KEY_FILE, "s")];
        let of = |secret: &Secret| digest("k", Some(secret));
        let same = of(&stored(UID, "1", &keys));
        let mut labelled = stored(UID, "2", &keys);
        labelled.metadata.labels = Some([("refreshed".to_owned(), "now".to_owned())].into());
        assert_eq!(of(&labelled), same, "another resource version");
        let more = [keys[0], (SECRET_KEY_FILE, "s\n"), ("note", "x")];
        assert_eq!(of(&stored(UID, "3", &more)), same, "what no program reads");
        for (name, secret) in [
            ("another key", stored(UID, "1", &[(ACCESS_KEY_FILE, "AKIB"), keys[1]])),
            ("another secret", stored(UID, "1", &[keys[0], (SECRET_KEY_FILE, "t")])),
            ("a token", stored(UID, "1", &[keys[0], keys[1], (SESSION_TOKEN_FILE, "t")])),
            ("values that moved", stored(UID, "1", &[(ACCESS_KEY_FILE, "AKI"), (SECRET_KEY_FILE, "As")])),
            ("another Secret of the same name", stored("other", "1", &keys)),
        ] {
            assert_ne!(of(&secret), same, "{name}");
        }
        assert_ne!(digest("k", None), same);
        assert_ne!(digest("l", Some(&stored(UID, "1", &keys))), same);
    }

    /// If this fails, an upgrade repeats the preflight of every job with a Secret.
    #[test]
    fn a_secret_has_the_same_version_in_every_version_of_the_operator() {
        let secret = stored(UID, "1", &[(ACCESS_KEY_FILE, "AKIA"), (SECRET_KEY_FILE, "s")]);
        let digests = [Service::Source, Service::Queue].map(|side| (side, digest("k", Some(&secret))));
        let secrets = Secrets { queue: None, ledger: None, digests: digests.into(), problems: vec![] };
        assert_eq!(
            [secrets.version().unwrap(), secrets.tried_version().unwrap()],
            ["5d4261f647d22853", "d292f4022767c9da"]
        );
        let none = Secrets { digests: vec![], ..secrets };
        assert_eq!((none.version(), none.tried_version()), (None, None));
    }

    #[test]
    fn without_the_uid_of_a_secret_nothing_of_it_is_in_its_version() {
        let of = |value| digest("k", Some(&secret(&[(ACCESS_KEY_FILE, "a"), (SECRET_KEY_FILE, value)])));
        assert_eq!(of("guess"), of("password"));
    }

    #[test]
    fn a_secret_is_checked_for_its_keys() {
        let whole = secret(&[(ACCESS_KEY_FILE, "AKIA\n"), (SECRET_KEY_FILE, "s"), (SESSION_TOKEN_FILE, "")]);
        let keys = check(Service::Source, "k", Some(&whole)).unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token), ("AKIA", None));
        for (found, reason, parts) in [
            (None, Reason::SecretMissing, vec!["Secret k of spec.queue.credentials", "create it"]),
            (
                Some(secret(&[(ACCESS_KEY_FILE, "a")])),
                Reason::SecretIncomplete,
                vec!["no key AWS_SECRET_ACCESS_KEY, or"],
            ),
            (
                Some(secret(&[(SECRET_KEY_FILE, "hidden"), (ACCESS_KEY_FILE, " ")])),
                Reason::SecretIncomplete,
                vec!["AWS_ACCESS_KEY_ID,"],
            ),
            (Some(Secret::default()), Reason::SecretIncomplete, vec!["AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"]),
        ] {
            let problem = check(Service::Queue, "k", found.as_ref()).unwrap_err();
            assert_eq!(problem.reason, reason);
            assert!(parts.iter().all(|part| problem.message.contains(part)), "{}", problem.message);
            assert!(!problem.message.contains("hidden"));
        }
    }
}
