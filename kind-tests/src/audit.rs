//! The audit log of the API server, if the cluster has one that the tests can read: `AUDIT_LOG` names it.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::wait::until;

/// The log from some moment on.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// A request that was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The account that asked, or that was impersonated.
    pub user: String,
    /// The verb, as rules name it.
    pub verb: String,
    /// Group of the resource; empty for the core group.
    pub group: String,
    /// The resource, with its subresource after a slash.
    pub resource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object; empty for lists, and for creations that leave it to the server.
    pub name: String,
    /// The client, as it names itself.
    pub agent: String,
    /// The status code of the answer.
    pub code: u64,
    /// No rule allowed it.
    pub is_forbidden: bool,
}

impl Audit {
    /// Begins at the end of the log. None if there is no log.
    pub fn begin() -> anyhow::Result<Option<Self>> {
        let Some(path) = env::var_os("AUDIT_LOG").filter(|path| !path.is_empty()).map(PathBuf::from) else {
            return Ok(None);
        };
        let from = match path.metadata() {
            Ok(found) => found.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context("failed to read the audit log"),
        };
        Ok(Some(Self { path, from }))
    }

    /// Returns the requests that were answered since then, the oldest first.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let mut file = File::open(&self.path).with_context(|| format!("failed to open {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.from)).context("failed to read the audit log")?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("failed to read the audit log")?;
        read(&text)
    }

    /// Waits until a request that fits was answered. The log is written when an answer is sent.
    pub async fn wait_for(&self, what: &str, limit: Duration, fits: impl Fn(&Entry) -> bool) -> anyhow::Result<Entry> {
        until(what, limit, Duration::from_millis(200), async || Ok(self.entries()?.into_iter().find(&fits))).await
    }

    /// Fails if a request of a service account was forbidden. There must be some requests, or the log is none.
    pub fn check(&self) -> anyhow::Result<()> {
        check(&self.entries()?).with_context(|| format!("the audit log is {}", self.path.display()))
    }
}

fn read(text: &str) -> anyhow::Result<Vec<Entry>> {
    // The last line may not be complete yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(Entry::of(&serde_json::from_str(line)?))).collect()
}

fn check(entries: &[Entry]) -> anyhow::Result<()> {
    let forbidden: Vec<_> =
        entries.iter().filter(|entry| entry.is_forbidden && entry.user.starts_with(ACCOUNTS)).collect();
    ensure!(forbidden.is_empty(), "these requests were forbidden: {forbidden:#?}");
    ensure!(!entries.is_empty(), "the audit log has no entries");
    Ok(())
}

const ACCOUNTS: &str = "system:serviceaccount:";

impl Entry {
    fn of(event: &Value) -> Self {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let impersonated = text("/impersonatedUser/username");
        let part = text("/objectRef/subresource");
        let resource = text("/objectRef/resource");
        Self {
            user: if impersonated.is_empty() { text("/user/username") } else { impersonated },
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            resource: if part.is_empty() { resource } else { format!("{resource}/{part}") },
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            agent: text("/userAgent"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
            is_forbidden: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(user: &str, impersonated: Option<&str>, decision: &str) -> String {
        let mut event = json!({
            "verb": "patch", "user": {"username": user}, "userAgent": "x",
            "objectRef": {
                "resource": "deployments", "subresource": "scale", "namespace": "media", "name": "photos-worker",
                "apiGroup": "apps",
            },
            "responseStatus": {"code": 409}, "annotations": {"authorization.k8s.io/decision": decision},
        });
        if let Some(user) = impersonated {
            event["impersonatedUser"] = json!({"username": user});
        }
        event.to_string()
    }

    #[test]
    fn what_was_forbidden_to_an_account_since_the_beginning_is_found() {
        let ours = format!("{ACCOUNTS}s3-migration-system:s3-migration");
        let log = |lines: &[String]| read(&format!("{}\n{{\"half\"", lines.join("\n"))).unwrap();
        let entries = log(&[event("admin", Some(&ours), "allow"), event("admin", None, "forbid")]);
        assert!(check(&entries).is_ok(), "{entries:?}");
        let expected = Entry {
            user: ours.clone(),
            verb: "patch".into(),
            group: "apps".into(),
            resource: "deployments/scale".into(),
            namespace: "media".into(),
            name: "photos-worker".into(),
            agent: "x".into(),
            code: 409,
            is_forbidden: false,
        };
        assert_eq!(entries[0], expected);
        for line in [event(&ours, None, "forbid"), event("admin", Some(&ours), "forbid")] {
            assert!(check(&log(&[line])).unwrap_err().to_string().contains("deployments/scale"));
        }
        assert!(check(&[]).is_err(), "a log without entries is none");
    }
}
