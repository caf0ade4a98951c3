//! What the predecessor's files hold, whichever file it stands in.

use std::fmt;

/// What was read from the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Settings, by name. The first of a name counts.
    pub settings: Vec<Given>,
    /// The bucket list.
    pub rules: Vec<Rule>,
    /// The stored credentials.
    pub keys: Keys,
    /// Lines of the ignore list; `None` without such a file.
    pub patterns: Option<Vec<String>>,
    /// What is not a setting, with the reason why it is not taken over.
    pub left: Vec<Left>,
    /// It is the serverless edition, whose jobsender ran every hour.
    pub is_serverless: bool,
}

/// A setting as given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// Its name, as written.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file.
    pub from: &'static str,
}

/// An entry of the bucket list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Place in the list, from 1.
    pub number: usize,
    /// Bucket to read from.
    pub src_bucket: String,
    /// Prefix of the keys to copy.
    pub src_prefix: String,
    /// Bucket to write to.
    pub des_bucket: String,
    /// Prefix of the copies.
    pub des_prefix: String,
}

/// The stored credentials, of the side at which the predecessor did not run.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Access key ID.
    pub id: Option<String>,
    /// Secret access key.
    pub secret: Option<String>,
    /// Session token.
    pub token: Option<String>,
    /// Region of that side.
    pub region: Option<String>,
}

/// Something that is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it is.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl Left {
    /// Creates an entry.
    pub fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { what: what.into(), reason: reason.into() }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value may be a secret under any name.
        f.debug_struct("Given").field("name", &self.name).field("from", &self.from).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Rule {
    /// Returns the entry as it may stand in a comment.
    pub fn shown(&self) -> String {
        let Self { number, src_bucket, src_prefix, des_bucket, des_prefix } = self;
        super::yaml::shown(&format!("entry {number}, {src_bucket}/{src_prefix} to {des_bucket}/{des_prefix}"))
    }
}

impl Keys {
    /// Returns true if a pair of keys is known.
    pub fn are_complete(&self) -> bool {
        self.id.is_some() && self.secret.is_some()
    }
}

impl Found {
    /// Returns the setting that counts.
    pub fn setting(&self, name: &str) -> Option<&Given> {
        self.settings.iter().find(|given| given.name.eq_ignore_ascii_case(name))
    }

    /// Adds a setting. One that repeats the value of an earlier one says nothing new.
    pub fn add(&mut self, given: Given) {
        match self.setting(&given.name) {
            None => self.settings.push(given),
            Some(first) if first.value == given.value => {}
            Some(first) => {
                let reason = format!("{} sets it too, and counts", first.from);
                let what = format!("{} = {} in {}", given.name, self.shown(&given), given.from);
                self.left.push(Left::new(what, reason));
            }
        }
    }

    /// Returns the value of a setting as it may stand in a comment: never a secret.
    pub fn shown(&self, given: &Given) -> String {
        let is_secret = is_secret_name(&given.name) || looks_like_keys(&given.value) || self.holds_keys(&given.value);
        if is_secret { "(hidden)".to_owned() } else { super::yaml::shown(&given.value) }
    }

    fn holds_keys(&self, text: &str) -> bool {
        [&self.keys.id, &self.keys.secret, &self.keys.token]
            .into_iter()
            .flatten()
            .any(|key| !key.is_empty() && text.contains(key.as_str()))
    }
}

/// Returns true for names under which people keep secrets. The names of parameters that hold some are none.
fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 9] =
        ["secret", "password", "passwd", "token", "credential", "access_key", "accesskey", "api_key", "private"];
    let name = name.to_ascii_lowercase();
    !name.starts_with("ssm_parameter_")
        && name != "aws_access_key_region"
        && WORDS.iter().any(|word| name.contains(word))
}

/// Returns true if a word of the text has the form of an access key ID or of a secret access key.
/// Source: "IAM identifiers" in the IAM user guide, for the prefixes of IDs.
fn looks_like_keys(text: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '+' | '=');
    text.split(|c| !is_key(c)).any(|word| {
        let is_id = word.len() >= 16 && (word.starts_with("AKIA") || word.starts_with("ASIA"));
        let has = |of: fn(&char) -> bool| word.chars().any(|c| of(&c));
        let is_secret = word.len() == 40
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_digit);
        is_id || is_secret
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: &str) -> Given {
        Given { name: name.into(), value: value.into(), from: "a file" }
    }

    #[test]
    fn secrets_are_never_shown() {
        let keys = Keys { secret: Some("hunter22".into()), ..Keys::default() };
        let found = Found { keys, ..Found::default() };
        for (name, value, expected) in [
            ("MaxRetry", "20", "20"),
            ("ssm_parameter_credentials", "s3_migration_credentials", "s3_migration_credentials"),
            ("aws_access_key_region", "cn-north-1", "cn-north-1"),
            ("DB_PASSWORD", "x", "(hidden)"),
            ("note", "use AKIAIOSFODNN7EXAMPLE", "(hidden)"),
            ("note", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKE1", "(hidden)"),
            ("note", "it is hunter22!", "(hidden)"),
            ("note", "a\nb", "a\\u{a}b"),
        ] {
            let given = given(name, value);
            assert_eq!(found.shown(&given), expected, "{name}");
            assert!(!format!("{given:?}").contains(value), "{name}");
        }
        assert!(!format!("{found:?}").contains("hunter22"));
    }

    #[test]
    fn the_first_of_a_name_counts_and_others_are_named() {
        let mut found = Found::default();
        found.add(given("MaxRetry", "20"));
        found.add(given("maxretry", "20"));
        found.add(given("MaxRetry", "5"));
        assert_eq!(found.setting("MAXRETRY").map(|given| given.value.as_str()), Some("20"));
        assert_eq!(found.left, [Left::new("MaxRetry = 5 in a file", "a file sets it too, and counts")]);
    }
}
