//! How the S3 service of a side is reached, and whether two configurations reach the same buckets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ConfigError;
use crate::error::Service;

/// Access to one S3 service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Side {
    /// Endpoint and credentials.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// Address buckets as `https://host/bucket/key` instead of `https://bucket.host/key`.
    #[serde(default)]
    pub path_style: bool,
    /// The caller pays for requests and transfer; each request carries `x-amz-request-payer: requester`.
    /// Source: "Using Requester Pays buckets" in the S3 user guide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requester_pays: bool,
    /// CA certificates trusted for this side, in addition to those of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// URL of this side's HTTP proxy (scheme, host and port), overriding the environment. It holds no user and no
    /// password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// Location of a service, and the credentials to call it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccess {
    /// Region, for signatures and endpoint names.
    pub region: String,
    /// URL to use instead of the region's default endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The credentials.
    #[serde(default)]
    pub credentials: Credentials,
}

/// Where the credentials for a service come from. Never holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Credentials {
    /// The pod's own identity: IRSA, Pod Identity, the node's role, or the environment.
    #[default]
    Pod,
    /// None; requests are not signed.
    Anonymous,
    /// A profile of the files that the AWS tools share, `~/.aws/config` and `~/.aws/credentials`.
    Profile {
        /// Name of the profile. It identifies the principal.
        name: String,
    },
    /// Files, reread when they change: [`ACCESS_KEY_FILE`], [`SECRET_KEY_FILE`] and optionally [`SESSION_TOKEN_FILE`].
    Directory {
        /// The directory that holds the files.
        path: PathBuf,
        /// Name of the Secret mounted there. It identifies the principal across key rotations.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
    /// Temporary credentials of a role that the pod's own identity assumes.
    AssumeRole(AssumeRole),
}

/// A role to assume. Source: `AssumeRole` in the STS API reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role. It identifies the principal.
    pub role_arn: String,
    /// The ID that the role's trust policy asks for. It is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Name of the session. It is part of the initiator by which services identify uploads, so all programs of a job
    /// have the same.
    pub session_name: String,
}

/// Most characters of the name of a session. Source: `RoleSessionName` of `AssumeRole` in the STS API reference.
const SESSION_NAME_LIMIT: usize = 64;

/// Returns the name of a job's sessions: 2 … 64 characters of `[A-Za-z0-9_+=,.@-]`.
pub fn session_name(job_uid: &str) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(*c);
    format!("s3-migration-{job_uid}").chars().filter(is_allowed).take(SESSION_NAME_LIMIT).collect()
}

/// CA certificates in PEM format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// Path of the file.
    pub path: PathBuf,
    /// The object mounted at that path; `None` if the operator did not mount one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MountedFrom>,
}

/// A key of a `ConfigMap` or Secret that is mounted as a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum MountedFrom {
    /// A `ConfigMap`.
    ConfigMap {
        /// Name of the `ConfigMap`.
        name: String,
        /// Key in it.
        key: String,
    },
    /// A Secret.
    Secret {
        /// Name of the Secret.
        name: String,
        /// Key in it.
        key: String,
    },
}

/// File name, and key in the Secret, of the access key ID.
pub const ACCESS_KEY_FILE: &str = "AWS_ACCESS_KEY_ID";
/// File name, and key in the Secret, of the secret access key.
pub const SECRET_KEY_FILE: &str = "AWS_SECRET_ACCESS_KEY";
/// File name, and key in the Secret, of the session token of temporary credentials. Optional.
pub const SESSION_TOKEN_FILE: &str = "AWS_SESSION_TOKEN";

impl S3Side {
    /// Creates a side with defaults for everything but location, credentials and path style.
    pub fn new(service: ServiceAccess, path_style: bool) -> Self {
        Self { service, path_style, requester_pays: false, ca_bundle: None, proxy: None }
    }

    /// Checks what the resource's schema cannot.
    pub(super) fn validate(&self, side: Service) -> Result<(), ConfigError> {
        let fits = |proxy: &String| {
            let host = proxy.strip_prefix("http://").or_else(|| proxy.strip_prefix("https://"));
            let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ']))
        };
        if self.proxy.as_ref().is_none_or(fits) { Ok(()) } else { Err(ConfigError::Proxy { side }) }
    }

    /// Returns true if a bucket name means the same bucket on both sides: the same endpoint and region, called as the
    /// same principal. The other settings only change how the service is reached. Keys rotated within one Secret keep
    /// their principal; another Secret may belong to another account, and on some services each account has its own
    /// buckets under the same names.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }

    /// Returns a short identifier of the place, equal for all sides that are [the same place](Self::is_same_place).
    /// Records about a bucket carry it, to tell equally named buckets apart.
    pub fn place_name(&self) -> String {
        let ServiceAccess { region, endpoint: _, credentials } = &self.service;
        let endpoint = endpoint(&self.service).unwrap_or_default();
        let text = format!("{endpoint}\n{region}\n{}", credentials.shown());
        hex::encode(Sha256::digest(text)).chars().take(16).collect()
    }

    /// Describes the first difference that makes `other` a different place. Returns `None` if both are the same place.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (a, b) = (&self.service, &other.service);
        if endpoint(a) != endpoint(b) {
            let shown = |service: &ServiceAccess| endpoint(service).unwrap_or("the AWS default").to_owned();
            return Some(format!("endpoint {} became {}", shown(a), shown(b)));
        }
        if a.region != b.region {
            return Some(format!("region {} became {}", a.region, b.region));
        }
        (!a.credentials.is_same_principal(&b.credentials))
            .then(|| format!("credentials {} became {}", a.credentials.shown(), b.credentials.shown()))
    }
}

/// Returns the endpoint without trailing slashes.
fn endpoint(service: &ServiceAccess) -> Option<&str> {
    service.endpoint.as_deref().map(|url| url.trim_end_matches('/'))
}

impl Credentials {
    fn is_same_principal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { secret: Some(a), .. }, Self::Directory { secret: Some(b), .. }) => a == b,
            // At least one of them does not name its Secret.
            (Self::Directory { path: a, .. }, Self::Directory { path: b, .. }) => a == b,
            (Self::AssumeRole(a), Self::AssumeRole(b)) => a.role_arn == b.role_arn,
            (a, b) => a == b,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Pod => "of the pod".to_owned(),
            Self::Anonymous => "anonymous".to_owned(),
            Self::Profile { name } => format!("of profile {name}"),
            Self::Directory { secret: Some(name), .. } => format!("of Secret {name}"),
            Self::Directory { path, secret: None } => format!("in {}", path.display()),
            Self::AssumeRole(role) => format!("of role {}", role.role_arn),
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
                Some("endpoint http://s3 became the AWS default"),
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
            (
                "{region: r, endpoint: 'http://s3', credentials: {type: profile, name: work}}",
                Some("credentials of Secret keys became of profile work"),
            ),
            (
                "{region: r, endpoint: 'http://s3', credentials: {type: assumeRole, roleArn: arn:r, sessionName: s}}",
                Some("credentials of Secret keys became of role arn:r"),
            ),
        ] {
            let (before, after) = (side(before), side(after));
            assert_eq!(before.difference(&after).as_deref(), expected, "{after:?}");
            assert_eq!(after.is_same_place(&before), expected.is_none(), "both ways");
            assert!(expected.is_none() || after.place_name() != before.place_name(), "{after:?}");
        }
    }

    #[test]
    fn a_role_is_one_place_whatever_its_sessions() {
        let of = |rest: &str| side(&format!("{{region: r, credentials: {{type: assumeRole, {rest}}}}}"));
        let before = of("roleArn: arn:r, sessionName: s");
        let same = of("roleArn: arn:r, sessionName: t, externalId: e");
        assert_eq!((before.difference(&same), before.place_name()), (None, same.place_name()));
        let other = of("roleArn: arn:q, sessionName: s");
        assert_eq!(before.difference(&other).unwrap(), "credentials of role arn:r became of role arn:q");
    }

    #[test]
    fn names_of_sessions_are_as_sts_takes_them() {
        let uid = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(session_name(uid), format!("s3-migration-{uid}"));
        assert_eq!(session_name("a b/c:d\u{e9}_e"), "s3-migration-abcd_e");
        assert_eq!(session_name(&"x".repeat(100)).len(), SESSION_NAME_LIMIT);
        assert_eq!(session_name(""), "s3-migration-");
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
            assert_eq!(side.validate(Service::Source).is_ok(), is_fine, "{proxy}");
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
