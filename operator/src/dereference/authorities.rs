//! The certificates of both sides: whether they are there and look like such, and when they change.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use migration_api::{MigrationJobSpec, reasons};
use migration_core::config::MountedFrom;
use migration_core::error::Side;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// What certificates in PEM begin with. Source: RFC 7468, section 5.1.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// What is known of the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// Changes when their text does; none where the job names none.
    pub version: Option<String>,
    /// What is wrong with them. Pods whose certificates are not there never start.
    pub problems: Vec<Problem>,
}

/// Reads them. Secrets are asked for by name, as those with keys are.
pub async fn read(client: &Client, namespace: &str, spec: &MigrationJobSpec) -> Result<Authorities, kube::Error> {
    let named = [(Side::Source, &spec.source.ca_bundle), (Side::Destination, &spec.destination.ca_bundle)];
    let mut found = Vec::new();
    for (side, bundle) in named {
        let Some(from) = bundle.as_ref().and_then(migration_api::services::CaBundle::from) else { continue };
        let text = match &from {
            MountedFrom::ConfigMap { name, key } => {
                let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await?;
                Text::of(map.map(|map| map.data.and_then(|mut data| data.remove(key))))
            }
            MountedFrom::Secret { name, key } => {
                let secret = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
                let bytes = secret.map(|secret| secret.data.and_then(|mut data| data.remove(key)));
                Text::of(bytes.map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())))
            }
        };
        found.push((side, from, text));
    }
    Ok(judge(&found))
}

/// What stands where a side's certificates should.
enum Text {
    /// There is no such object.
    Absent,
    /// It has no such key.
    NoKey,
    /// This.
    Is(String),
}

impl Text {
    #[allow(clippy::option_option, reason = "taken apart here, and nowhere else")]
    fn of(found: Option<Option<String>>) -> Self {
        match found {
            None => Self::Absent,
            Some(None) => Self::NoKey,
            Some(Some(text)) => Self::Is(text),
        }
    }
}

/// A side, what it names, and what stands there.
type Named = (Side, MountedFrom, Text);

fn judge(found: &[Named]) -> Authorities {
    let mut authorities = Authorities::default();
    let mut versions = Sha256::new();
    for (side, from, text) in found {
        let (kind, name, key) = match from {
            MountedFrom::ConfigMap { name, key } => ("ConfigMap", name, key),
            MountedFrom::Secret { name, key } => ("Secret", name, key),
        };
        let what = match text {
            Text::Absent => "is not in this namespace: create it".to_owned(),
            Text::NoKey => format!("has no key {key} with text: add it"),
            Text::Is(text) if !text.contains(BEGIN) => {
                format!("has no certificate in PEM under {key}: it begins with {BEGIN}")
            }
            Text::Is(text) => {
                versions.update(format!("{side}/{}/", text.len()));
                versions.update(text);
                authorities.version = Some(hex::encode(versions.clone().finalize()).chars().take(16).collect());
                continue;
            }
        };
        authorities
            .problems
            .push(Problem::new(reasons::CA_BUNDLE_INVALID, format!("{kind} {name} of spec.{side}.caBundle {what}")));
    }
    authorities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: Text) -> Named {
        let from = MountedFrom::ConfigMap { name: "n".into(), key: "k".into() };
        (Side::Source, from, text)
    }

    #[test]
    fn certificates_that_are_not_there_are_told() {
        for (text, part) in [
            (Text::Absent, "ConfigMap n of spec.source.caBundle is not in this namespace"),
            (Text::NoKey, "has no key k"),
            (Text::Is("nonsense".into()), "no certificate in PEM under k"),
        ] {
            let found = judge(&[named(text)]);
            assert_eq!((found.version, found.problems[0].reason.as_str()), (None, "CaBundleInvalid"));
            assert!(found.problems[0].message.contains(part), "{}", found.problems[0].message);
        }
        let secret = (Side::Destination, MountedFrom::Secret { name: "s".into(), key: "k".into() }, Text::Absent);
        assert!(judge(&[secret]).problems[0].message.starts_with("Secret s of spec.destination.caBundle is not in"));
    }

    #[test]
    fn the_version_follows_the_text() {
        let version = |text: &str| judge(&[named(Text::Is(format!("{BEGIN}{text}")))]).version.unwrap();
        assert_eq!(version("a"), version("a"));
        assert_ne!(version("a"), version("b"));
        assert_eq!(judge(&[]), Authorities::default());
    }
}
