//! The certificates of source and destination: reads them, checks that they look like certificates, and notices changes.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use migration_api::services::CaBundle;
use migration_api::{MigrationJobSpec, Reason};
use migration_core::config::MountedFrom;
use migration_core::error::Service;
use sha2::{Digest, Sha256};

use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::problem::Problem;

/// The first line of a certificate in PEM. Source: RFC 7468, section 5.1.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates of a job, all of which can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaBundles {
    /// Changes when a certificate changes; none if the job names no certificates.
    pub version: Option<String>,
}

/// Reads the certificates that a job names, or says why they cannot be used: pods that mount a missing one never start.
/// Secrets are read by name, as those with credentials are.
pub async fn read(
    context: &Context,
    namespace: &str,
    spec: &MigrationJobSpec,
) -> Result<Result<CaBundles, Vec<Problem>>, RequestError> {
    let named = [(Service::Source, &spec.source.ca_bundle), (Service::Destination, &spec.destination.ca_bundle)];
    let mut found = Vec::new();
    for (side, bundle) in named {
        let Some(from) = bundle.as_ref().and_then(CaBundle::from) else { continue };
        let text = match &from {
            MountedFrom::ConfigMap { name, key } => {
                let map = kubernetes::get::<ConfigMap>(&context.api(namespace), name).await?;
                Text::of(map.map(|map| map.data.and_then(|mut data| data.remove(key))))
            }
            MountedFrom::Secret { name, key } => {
                let secret = kubernetes::get::<Secret>(&context.api(namespace), name).await?;
                let bytes = secret.map(|secret| secret.data.and_then(|mut data| data.remove(key)));
                Text::of(bytes.map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())))
            }
        };
        found.push((side, from, text));
    }
    Ok(check(&found))
}

/// The text under the key that a side names.
enum Text {
    /// The object does not exist.
    NoObject,
    /// The object lacks the key.
    NoKey,
    /// The key holds this text.
    Found(String),
}

impl Text {
    #[allow(clippy::option_option, reason = "converted here, and nowhere else")]
    fn of(found: Option<Option<String>>) -> Self {
        match found {
            None => Self::NoObject,
            Some(None) => Self::NoKey,
            Some(Some(text)) => Self::Found(text),
        }
    }
}

/// A side, the object and key that it names, and the text there.
type NamedBundle = (Service, MountedFrom, Text);

fn check(bundles: &[NamedBundle]) -> Result<CaBundles, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut versions = Sha256::new();
    for (side, from, text) in bundles {
        let (kind, name, key) = match from {
            MountedFrom::ConfigMap { name, key } => ("ConfigMap", name, key),
            MountedFrom::Secret { name, key } => ("Secret", name, key),
        };
        let what = match text {
            Text::NoObject => "does not exist in this namespace: create it".to_owned(),
            Text::NoKey => format!("has no key {key} with text: add it"),
            Text::Found(text) if !text.contains(BEGIN) => {
                format!("has no PEM certificate under the key {key}: it must contain {BEGIN}")
            }
            Text::Found(text) => {
                versions.update(format!("{side}/{}/", text.len()));
                versions.update(text);
                continue;
            }
        };
        problems.push(Problem::new(Reason::CaBundleInvalid, format!("{kind} {name} of spec.{side}.caBundle {what}")));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let version = (!bundles.is_empty()).then(|| hex::encode(versions.finalize()).chars().take(16).collect());
    Ok(CaBundles { version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: Text) -> NamedBundle {
        let from = MountedFrom::ConfigMap { name: "n".into(), key: "k".into() };
        (Service::Source, from, text)
    }

    #[test]
    fn certificates_that_cannot_be_used_are_reported() {
        for (text, part) in [
            (Text::NoObject, "ConfigMap n of spec.source.caBundle does not exist in this namespace"),
            (Text::NoKey, "has no key k"),
            (Text::Found("nonsense".into()), "no PEM certificate under the key k"),
        ] {
            let problems = check(&[named(text)]).unwrap_err();
            assert_eq!(problems[0].reason, Reason::CaBundleInvalid);
            assert!(problems[0].message.contains(part), "{}", problems[0].message);
        }
        let secret = (Service::Destination, MountedFrom::Secret { name: "s".into(), key: "k".into() }, Text::NoObject);
        let problems = check(&[secret]).unwrap_err();
        assert!(problems[0].message.starts_with("Secret s of spec.destination.caBundle does not exist in"));
    }

    #[test]
    fn the_version_follows_the_text() {
        let version = |text: &str| check(&[named(Text::Found(format!("{BEGIN}{text}")))]).unwrap().version.unwrap();
        assert_eq!(version("a"), version("a"));
        assert_ne!(version("a"), version("b"));
        assert_eq!(check(&[]), Ok(CaBundles::default()));
    }
}
