//! How the S3 service of a side is reached, and whether two ways lead to the same place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ConfigError;
use crate::error::Side;

/// How to reach one S3 service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Side {
    /// Where and as whom.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// `https://host/bucket/key` in place of `https://bucket.host/key`.
    #[serde(default)]
    pub path_style: bool,
    /// The caller pays for requests and transfer: each request says so (`x-amz-request-payer: requester`).
    /// Source: "Using Requester Pays buckets" in the S3 user guide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requester_pays: bool,
    /// Certificates that this side's service is trusted by, besides those that the image trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// URL of the HTTP proxy for this side, in place of that of the environment: scheme, host and port. Never has a user
    /// or a password in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// Where a service is and as whom it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccess {
    /// Region for signatures and endpoint names.
    pub region: String,
    /// URL in place of the region's own endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// As whom.
    #[serde(default)]
    pub credentials: Credentials,
}

/// As whom a service is called. Never holds a secret itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Credentials {
    /// The pod's own: IRSA, Pod Identity, the node's role, environment.
    #[default]
    Pod,
    /// Requests are not signed.
    Anonymous,
    /// Files named as [`ACCESS_KEY_FILE`] and friends, read again when they change.
    Directory {
        /// The directory of the files.
        path: PathBuf,
        /// Name of the Secret that is mounted there: it tells whose keys these are when they are rotated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
}

/// Certificates in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// The file.
    pub path: PathBuf,
    /// What is mounted there; none where no operator has mounted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MountedFrom>,
}

/// A key of an object of the cluster that is mounted as a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum MountedFrom {
    /// Of a `ConfigMap`.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// Of a Secret.
    Secret {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

/// Name of the file, and key of the Secret, with the access key's id.
pub const ACCESS_KEY_FILE: &str = "AWS_ACCESS_KEY_ID";
/// Name of the file, and key of the Secret, with the access key's secret.
pub const SECRET_KEY_FILE: &str = "AWS_SECRET_ACCESS_KEY";
/// Name of the file, and key of the Secret, with the session token of temporary credentials; may be absent.
pub const SESSION_TOKEN_FILE: &str = "AWS_SESSION_TOKEN";

impl S3Side {
    /// A side with no more than where it is and as whom it is called.
    pub fn new(service: ServiceAccess, path_style: bool) -> Self {
        Self { service, path_style, requester_pays: false, ca_bundle: None, proxy: None }
    }

    /// Checks what the schema of the resource can't.
    pub(super) fn validate(&self, side: Side) -> Result<(), ConfigError> {
        let fits = |proxy: &String| {
            let host = proxy.strip_prefix("http://").or_else(|| proxy.strip_prefix("https://"));
            let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ']))
        };
        if self.proxy.as_ref().is_none_or(fits) { Ok(()) } else { Err(ConfigError::Proxy { side }) }
    }

    /// Whether a bucket's name means the same bucket at both: the same service, called as the same principal. The rest
    /// of a side says by what way it is reached. Keys that are rotated within a Secret stay the same principal's; another
    /// Secret may be another account's, and services exist whose accounts have buckets of their own under one name.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }

    /// A short name of the place, the same for all that are [the same place](Self::is_same_place): what is recorded of
    /// a bucket is of the bucket that this place has under its name.
    pub fn place_name(&self) -> String {
        let ServiceAccess { region, endpoint: _, credentials } = &self.service;
        let endpoint = endpoint(&self.service).unwrap_or_default();
        let text = format!("{endpoint}\n{region}\n{}", credentials.shown());
        hex::encode(Sha256::digest(text)).chars().take(16).collect()
    }

    /// What of the place is another one at `other`, in words for people; none where both are the same place.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (a, b) = (&self.service, &other.service);
        if endpoint(a) != endpoint(b) {
            let shown = |service: &ServiceAccess| endpoint(service).unwrap_or("that of AWS").to_owned();
            return Some(format!("endpoint {} became {}", shown(a), shown(b)));
        }
        if a.region != b.region {
            return Some(format!("region {} became {}", a.region, b.region));
        }
        (!a.credentials.is_same_principal(&b.credentials))
            .then(|| format!("credentials {} became {}", a.credentials.shown(), b.credentials.shown()))
    }
}

/// The endpoint without the slash that some write at its end.
fn endpoint(service: &ServiceAccess) -> Option<&str> {
    service.endpoint.as_deref().map(|url| url.trim_end_matches('/'))
}

impl Credentials {
    fn is_same_principal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { secret: Some(a), .. }, Self::Directory { secret: Some(b), .. }) => a == b,
            // One of them says nothing of a Secret.
            (Self::Directory { path: a, .. }, Self::Directory { path: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Pod => "of the pod".to_owned(),
            Self::Anonymous => "anonymous".to_owned(),
            Self::Directory { secret: Some(name), .. } => format!("of Secret {name}"),
            Self::Directory { path, secret: None } => format!("in {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(yaml: &str) -> S3Side {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn a_place_is_service_and_principal_and_not_the_way_to_it() {
        let before = "{region: r, endpoint: 'http://s3', credentials: {type: directory, path: /c, secret: keys}}";
        for (after, expected) in [
            (before, None),
            (
                "{region: r, endpoint: 'http://s3/', pathStyle: true, requesterPays: true, proxy: 'http://p', caBundle: {path: /ca}, credentials: {type: directory, path: /d, secret: keys}}",
                None,
            ),
            ("{region: r, endpoint: 'http://s3', credentials: {type: directory, path: /c}}", None),
            (
                "{region: r, endpoint: 'http://other', credentials: {type: directory, path: /c, secret: keys}}",
                Some("endpoint http://s3 became http://other"),
            ),
            (
                "{region: r, credentials: {type: directory, path: /c, secret: keys}}",
                Some("endpoint http://s3 became that of AWS"),
            ),
            (
                "{region: q, endpoint: 'http://s3', credentials: {type: directory, path: /c, secret: keys}}",
                Some("region r became q"),
            ),
            (
                "{region: r, endpoint: 'http://s3', credentials: {type: directory, path: /c, secret: other}}",
                Some("credentials of Secret keys became of Secret other"),
            ),
            ("{region: r, endpoint: 'http://s3'}", Some("credentials of Secret keys became of the pod")),
            (
                "{region: r, endpoint: 'http://s3', credentials: {type: anonymous}}",
                Some("credentials of Secret keys became anonymous"),
            ),
        ] {
            let (before, after) = (side(before), side(after));
            assert_eq!(before.difference(&after).as_deref(), expected, "{after:?}");
            assert_eq!(after.is_same_place(&before), expected.is_none(), "both ways");
            assert!(expected.is_none() || after.place_name() != before.place_name(), "{after:?}");
        }
    }

    #[test]
    fn a_proxy_is_scheme_host_and_port() {
        for (proxy, is_fine) in [
            ("http://proxy.example.com:3128", true),
            ("https://proxy/", true),
            ("proxy:3128", false),
            ("socks5://proxy", false),
            ("http://", false),
            ("http://me:secret@proxy", false),
            ("http://proxy/path", false),
        ] {
            let side = S3Side { proxy: Some(proxy.to_owned()), ..side("{region: r}") };
            assert_eq!(side.validate(Side::Source).is_ok(), is_fine, "{proxy}");
        }
    }

    #[test]
    fn what_is_mounted_is_named() {
        let side = side(
            "{region: r, requesterPays: true, caBundle: {path: /ca/ca.crt, from: {kind: configMap, name: n, key: k}}}",
        );
        let from = Some(MountedFrom::ConfigMap { name: "n".into(), key: "k".into() });
        assert_eq!(side.ca_bundle, Some(CaBundle { path: "/ca/ca.crt".into(), from }));
        assert!(
            serde_yaml::from_str::<S3Side>("{region: r, requesterPay: true}").is_err(),
            "unknown members are refused"
        );
    }
}
