//! Files of several YAML documents.

use anyhow::Context as _;
use serde::{Deserialize as _, de::DeserializeOwned};

/// Parses the documents of a YAML file.
pub fn documents<T: DeserializeOwned>(text: &str) -> anyhow::Result<Vec<T>> {
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = serde_yaml::Value::deserialize(document).context("failed to read YAML")?;
        if !value.is_null() {
            found.push(serde_yaml::from_value(value).context("failed to read a document")?);
        }
    }
    Ok(found)
}
