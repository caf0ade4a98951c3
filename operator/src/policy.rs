//! What the person who installs the operator allows the authors of `MigrationJobs`.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

/// The label of Secrets and `ConfigMaps` that jobs may use, if labels are required and the policy names none.
const ALLOWED_LABEL: &str = "s3migration.dev/allowed=true";

/// What is allowed. A list that is absent allows everything, or nothing if the policy is strict. In entries, `*` stands
/// for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Lists that are absent are empty, and Secrets and `ConfigMaps` need a label.
    pub strict: bool,
    /// Images of workers and jobsenders, besides the operator's default.
    images: Option<Vec<String>>,
    /// Service accounts of pods, as namespace and name with a slash between them. A job that names none has the
    /// namespace's `default`.
    service_accounts: Option<Vec<String>>,
    /// URLs of services and proxies. Those of AWS need no entry.
    endpoints: Option<Vec<String>>,
    /// Roles that pods may assume by name, and KEDA for them.
    role_arns: Option<Vec<String>>,
    /// CSI drivers of volumes.
    csi_drivers: Option<Vec<String>>,
    /// Hosts of webhooks.
    webhook_hosts: Option<Vec<String>>,
    /// Networks in CIDR notation that webhooks may be in, besides the public internet. Empty in both modes.
    webhook_networks: Vec<String>,
    /// Networks in CIDR notation that webhooks may not be in, whatever else allows it.
    webhook_refused_networks: Vec<String>,
    /// The label, as `name=value`, that Secrets and `ConfigMaps` need to be used by a job.
    required_label: Option<String>,
    /// What the operator may do with its own identity.
    own_identity: OwnIdentity,
}

/// Queues, tables and topics that are not the operator's own and that it may use with its own identity, all others need
/// credentials of their own. Empty in both modes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OwnIdentity {
    /// URLs of queues.
    queues: Vec<String>,
    /// Names of tables.
    tables: Vec<String>,
    /// ARNs of topics for notifications.
    topics: Vec<String>,
}

/// A kind of thing that a policy lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Images.
    Images,
    /// Service accounts.
    ServiceAccounts,
    /// Endpoints and proxies.
    Endpoints,
    /// Role ARNs.
    RoleArns,
    /// CSI drivers.
    CsiDrivers,
    /// Hosts of webhooks.
    WebhookHosts,
    /// Foreign queues for the operator's own identity.
    OwnIdentityQueues,
    /// Foreign tables for the operator's own identity.
    OwnIdentityTables,
    /// Topics for the operator's own identity.
    OwnIdentityTopics,
}

impl Listed {
    /// Returns the name of the list in the chart's values.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "policy.images",
            Self::ServiceAccounts => "policy.serviceAccounts",
            Self::Endpoints => "policy.endpoints",
            Self::RoleArns => "policy.roleArns",
            Self::CsiDrivers => "policy.csiDrivers",
            Self::WebhookHosts => "policy.webhookHosts",
            Self::OwnIdentityQueues => "policy.ownIdentity.queues",
            Self::OwnIdentityTables => "policy.ownIdentity.tables",
            Self::OwnIdentityTopics => "policy.ownIdentity.topics",
        }
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file could not be read.
    #[error("failed to read policy {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is no policy.
    #[error("failed to parse policy {}: {source}", path.display())]
    Parse {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: serde_yaml::Error,
    },
    /// The label is no label.
    #[error("failed to use policy: requiredLabel {0} is not a label: write it as name=value")]
    Label(String),
    /// A network is none.
    #[error("failed to use policy: {list} {text} is not a network: write it as 10.0.0.0/8")]
    Network {
        /// The list that it is in.
        list: &'static str,
        /// The entry.
        text: String,
    },
}

impl Policy {
    /// Reads a policy in YAML.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let parsed: Result<Self, _> = serde_yaml::from_slice(&text);
        parsed.map_err(|source| PolicyError::Parse { path: path.to_owned(), source })?.checked()
    }

    fn checked(self) -> Result<Self, PolicyError> {
        match &self.required_label {
            Some(label) if label.split_once('=').is_none_or(|(name, _)| name.is_empty()) => {
                Err(PolicyError::Label(label.clone()))
            }
            _ => {
                check_networks("webhookNetworks", &self.webhook_networks)?;
                check_networks("webhookRefusedNetworks", &self.webhook_refused_networks)?;
                Ok(self)
            }
        }
    }

    /// Returns true if a list allows something.
    pub fn allows(&self, listed: Listed, text: &str) -> bool {
        self.entries(listed).is_none_or(|entries| entries.iter().any(|entry| matches(entry, text)))
    }

    /// Returns true if a list names something. One that is absent names nothing, in both modes.
    pub fn lists(&self, listed: Listed, text: &str) -> bool {
        self.entries(listed).is_some_and(|entries| entries.iter().any(|entry| matches(entry, text)))
    }

    /// Returns true if a list restricts anything.
    pub fn restricts(&self, listed: Listed) -> bool {
        self.entries(listed).is_some()
    }

    /// Returns the entries of a list, or none if it allows everything.
    pub fn entries(&self, listed: Listed) -> Option<&[String]> {
        let list = match listed {
            Listed::Images => &self.images,
            Listed::ServiceAccounts => &self.service_accounts,
            Listed::Endpoints => &self.endpoints,
            Listed::RoleArns => &self.role_arns,
            Listed::CsiDrivers => &self.csi_drivers,
            Listed::WebhookHosts => &self.webhook_hosts,
            Listed::OwnIdentityQueues => return Some(&self.own_identity.queues),
            Listed::OwnIdentityTables => return Some(&self.own_identity.tables),
            Listed::OwnIdentityTopics => return Some(&self.own_identity.topics),
        };
        list.as_deref().or_else(|| self.strict.then_some(&[]))
    }

    /// Returns the networks that webhooks may be in, besides the public internet.
    pub fn webhook_networks(&self) -> Vec<IpNet> {
        networks(&self.webhook_networks)
    }

    /// Returns the networks that webhooks may not be in.
    pub fn webhook_refused_networks(&self) -> Vec<IpNet> {
        networks(&self.webhook_refused_networks)
    }

    /// Returns name and value of the label that Secrets and `ConfigMaps` need, if they need one.
    pub fn required_label(&self) -> Option<(&str, &str)> {
        let label = self.required_label.as_deref().or_else(|| self.strict.then_some(ALLOWED_LABEL))?;
        label.split_once('=')
    }
}

fn check_networks(list: &'static str, texts: &[String]) -> Result<(), PolicyError> {
    match texts.iter().find(|text| text.parse::<IpNet>().is_err()) {
        Some(text) => Err(PolicyError::Network { list, text: text.clone() }),
        None => Ok(()),
    }
}

fn networks(texts: &[String]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Returns true if a text is an entry, in which `*` stands for any characters, also none.
fn matches(entry: &str, text: &str) -> bool {
    let Some((first, rest)) = entry.split_once('*') else { return entry == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part).and_then(|at| text.get(at + part.len()..)) {
            Some(left) => text = left,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(yaml: &str) -> Policy {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (entry, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "b", false),
            ("*/mover", "media/mover", true),
            ("*/mover", "media/mover2", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("a*a", "a", false),
            ("a*ab*b", "aab", false),
            ("https://*.example.com", "https://evil.org/.example.com", true),
            ("é*ü", "éaü", true),
        ] {
            assert_eq!(matches(entry, text), expected, "{entry} {text}");
        }
    }

    #[test]
    fn a_list_that_is_absent_allows_everything_or_in_strict_mode_nothing() {
        let (open, strict) = (Policy::default(), policy("strict: true"));
        for listed in [
            Listed::Images,
            Listed::ServiceAccounts,
            Listed::Endpoints,
            Listed::RoleArns,
            Listed::CsiDrivers,
            Listed::WebhookHosts,
        ] {
            assert!(open.allows(listed, "x") && !open.restricts(listed), "{listed:?}");
            assert!(!open.lists(listed, "x") && !strict.lists(listed, "x"), "{listed:?}");
            assert!(!strict.allows(listed, "x") && strict.restricts(listed), "{listed:?}");
        }
        for listed in [Listed::OwnIdentityQueues, Listed::OwnIdentityTables, Listed::OwnIdentityTopics] {
            assert!(!open.allows(listed, "x") && !strict.allows(listed, "x"), "{listed:?}");
        }
        assert_eq!((open.required_label(), strict.required_label()), (None, Some(("s3migration.dev/allowed", "true"))));
        assert_eq!(policy("requiredLabel: team=media").required_label(), Some(("team", "media")));
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        let found = policy("webhookNetworks: [10.0.0.0/8]\nwebhookRefusedNetworks: [10.96.0.0/12, '2001:db8::/32']");
        let shown = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(found.webhook_networks()), ["10.0.0.0/8"]);
        assert_eq!(shown(found.webhook_refused_networks()), ["10.96.0.0/12", "2001:db8::/32"]);
    }

    #[test]
    fn a_policy_with_an_error_is_not_used() {
        for (yaml, part) in [
            ("image: [x]", "unknown field `image`"),
            ("requiredLabel: team", "requiredLabel team is not a label"),
            ("webhookNetworks: [10.0.0.0/8, 10.1]", "webhookNetworks 10.1 is not a network"),
            ("webhookRefusedNetworks: [10.1.0.0/33]", "webhookRefusedNetworks 10.1.0.0/33 is not a network"),
            ("ownIdentity: {queue: [x]}", "unknown field `queue`"),
        ] {
            let found = serde_yaml::from_str::<Policy>(yaml)
                .map_err(|source| PolicyError::Parse { path: "p".into(), source })
                .and_then(Policy::checked);
            assert!(found.as_ref().is_err_and(|error| error.to_string().contains(part)), "{found:?}");
        }
        assert!(Policy::read(Path::new("/nowhere")).is_err_and(|error| error.to_string().contains("/nowhere")));
    }
}
