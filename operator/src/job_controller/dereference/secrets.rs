//! The Secrets of a job: checks that they are complete, and takes the operator's keys for queue and ledger from them.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
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
    /// Changes when one of the Secrets changes; none if the job names none.
    pub version: Option<String>,
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
        version: None,
        problems: Vec::new(),
    };
    let mut versions = Sha256::new();
    for (side, name) in names(spec) {
        let Some(name) = name else { continue };
        let secret = kubernetes::get(api, name).await?;
        let version = secret.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
        versions.update(format!("{side}/{name}/{version};"));
        secrets.version = Some(hex::encode(versions.clone().finalize()).chars().take(16).collect());
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

/// Returns the keys of a Secret, or what is wrong with it. White space around values is removed, as workers do.
fn check(side: Service, name: &str, secret: Option<&Secret>) -> Result<StaticKeys, Problem> {
    let Some(secret) = secret else {
        let message = format!(
            "Secret {name} of spec.{side}.credentials does not exist in this namespace: create it with the keys \
             {ACCESS_KEY_FILE} and {SECRET_KEY_FILE}"
        );
        return Err(Problem::new(Reason::SecretMissing, message));
    };
    let value = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
        let text = std::str::from_utf8(&bytes.0).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
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
