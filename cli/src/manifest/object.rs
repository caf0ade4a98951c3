//! Objects of Kubernetes in a document: where they are, their names, and their fields.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::ManifestError;

/// Namespace of objects that name none, as for kubectl without a context.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the file; `-` for standard input.
    pub file: Arc<str>,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Number of the item, from 1, if the document is a list.
    pub item: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, item } = self;
        let file = if file.as_ref() == "-" { "standard input" } else { file };
        write!(f, "{file}, document {document}")?;
        item.iter().try_for_each(|item| write!(f, ", item {item}"))
    }
}

impl Place {
    /// Makes an error of this object.
    pub fn error(&self, problem: impl Into<String>) -> ManifestError {
        ManifestError::Object { place: self.clone(), problem: problem.into() }
    }
}

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object, of which only its kind was looked at.
pub struct Object {
    /// Where it is.
    pub place: Place,
    /// Its API version; empty if it has none.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// All its fields.
    pub fields: Map<String, Value>,
}

impl Object {
    /// Takes the kind of an object.
    pub fn new(place: Place, value: Value) -> Result<Self, ManifestError> {
        let Value::Object(fields) = value else {
            return Err(place.error("it is no object of Kubernetes; write apiVersion, kind, metadata and spec"));
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if kind.is_empty() {
            return Err(place.error("it has no kind; write kind: MigrationJob, Secret or ConfigMap"));
        }
        Ok(Self { place, api_version, kind, fields })
    }

    /// Refuses another API version than this one.
    pub fn expect_version(&self, expected: &str) -> Result<(), ManifestError> {
        if self.api_version == expected {
            return Ok(());
        }
        let (kind, found) = (&self.kind, &self.api_version);
        Err(self
            .place
            .error(format!("no matches for kind {kind} in version \"{found}\"; write apiVersion: {expected}")))
    }

    /// Refuses fields besides these, as kubectl does: a misspelled one would be lost.
    pub fn expect_fields(&self, expected: &[&str]) -> Result<(), ManifestError> {
        match self.fields.keys().find(|field| !expected.contains(&field.as_str())) {
            None => Ok(()),
            Some(field) => {
                let known = expected.join(", ");
                Err(self.place.error(format!("unknown field \"{field}\" of a {}; it has {known}", self.kind)))
            }
        }
    }

    /// Returns namespace and name.
    pub fn name(&self) -> Result<ObjectName, ManifestError> {
        let text = |field: &str| match self.fields.get("metadata").and_then(|metadata| metadata.get(field)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.place.error(format!("metadata.{field} is no text; put it into quotes"))),
        };
        let Some(name) = text("name")? else {
            return Err(self.place.error("metadata.name: Required value; give the object a name"));
        };
        Ok(ObjectName { namespace: text("namespace")?.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), name })
    }

    /// Returns a field whose values are texts, such as `data`. Errors name the key and never the value.
    pub fn texts(&self, field: &str) -> Result<Vec<(&str, &str)>, ManifestError> {
        let values = match self.fields.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(values)) => values,
            Some(_) => return Err(self.place.error(format!("{field} must have keys with texts as values"))),
        };
        let text = |(key, value)| match value {
            &Value::Null => Ok((String::as_str(key), "")),
            Value::String(text) => Ok((key.as_str(), text.as_str())),
            _ => Err(self.place.error(format!("{field}.{key} is no text; put the value into quotes"))),
        };
        values.iter().map(text).collect()
    }
}
