//! The values of Secrets and `ConfigMaps`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::ManifestError;
use super::object::Object;

/// The values of a Secret or `ConfigMap`, by their keys. `Debug` shows only the keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Values {
    /// Returns the value of a key as text; `None` if it is absent or no UTF-8.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(key)?).ok()
    }

    /// Returns the text of a key without white space around it; `None` if nothing is left.
    pub fn trimmed(&self, key: &str) -> Option<String> {
        Some(self.text(key)?.trim()).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
    }
}

/// Reads a Secret: `data` in Base64, and `stringData`, which wins.
pub fn secret(object: &Object) -> Result<Values, ManifestError> {
    object.expect_version("v1")?;
    object.expect_fields(&["apiVersion", "kind", "metadata", "data", "stringData", "type", "immutable"])?;
    let mut values = decoded(object, "data")?;
    let texts = object.texts("stringData")?;
    values.extend(texts.into_iter().map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec())));
    Ok(Values(values))
}

/// Reads a `ConfigMap`: `data`, and `binaryData` in Base64. A key may be in one of them only.
pub fn config_map(object: &Object) -> Result<Values, ManifestError> {
    object.expect_version("v1")?;
    object.expect_fields(&["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"])?;
    let mut values = decoded(object, "binaryData")?;
    for (key, text) in object.texts("data")? {
        if values.insert(key.to_owned(), text.as_bytes().to_vec()).is_some() {
            return Err(object.place.error(format!("the key {key} is in data and in binaryData; remove one of them")));
        }
    }
    Ok(Values(values))
}

fn decoded(object: &Object, field: &str) -> Result<BTreeMap<String, Vec<u8>>, ManifestError> {
    let decode = |(key, text): (&str, &str)| {
        // Go's decoder, and thus the API server, skips line breaks.
        let text: String = text.chars().filter(|c| !['\r', '\n'].contains(c)).collect();
        let bytes = STANDARD.decode(text).map_err(|_| {
            let hint = if field == "data" { ", or put the plain text into stringData" } else { "" };
            object.place.error(format!("{field}.{key} is not Base64; encode the value{hint}"))
        })?;
        Ok((key.to_owned(), bytes))
    };
    object.texts(field)?.into_iter().map(decode).collect()
}
