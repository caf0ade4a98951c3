//! The documents of YAML files.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::error::ManifestError;
use super::object::{Object, ObjectName, Place};
use super::secret::{Values, config_map, secret};

/// The objects of all files.
#[derive(Debug, Default)]
pub struct Documents {
    pub(super) jobs: Vec<JobDocument>,
    pub(super) secrets: BTreeMap<ObjectName, Found<Values>>,
    pub(super) config_maps: BTreeMap<ObjectName, Found<Values>>,
    skipped: Vec<Skipped>,
}

/// A `MigrationJob` as it was written.
#[derive(Debug)]
pub(super) struct JobDocument {
    /// Where it is.
    pub place: Place,
    /// Its namespace and name.
    pub name: ObjectName,
    /// The resource.
    pub object: Value,
}

/// What an object holds, and where it is.
#[derive(Debug)]
pub(super) struct Found<T> {
    place: Place,
    /// Its content.
    pub content: T,
}

/// An object that has no meaning without a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub place: Place,
    /// Its kind.
    pub kind: String,
    /// Its name; empty if it has none.
    pub name: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, kind, name } = self;
        let space = if name.is_empty() { "" } else { " " };
        write!(f, "{kind}{space}{name} ({place}) has no meaning without a cluster and is skipped")
    }
}

/// Reads the documents of files; `-` is standard input.
///
/// A file may hold many documents, and lists of objects (`kind: List`). YAML 1.2 is read: unlike for kubectl, `yes` and
/// `on` are texts, which fields for booleans refuse.
pub fn load(files: &[PathBuf], stdin: &mut dyn Read) -> Result<Documents, ManifestError> {
    let standard_input = Path::new("-");
    if files.iter().filter(|file| *file == standard_input).count() > 1 {
        return Err(ManifestError::StandardInputTwice);
    }
    let mut documents = Documents::default();
    for file in files {
        let text = if file == standard_input { read_all(stdin) } else { std::fs::read_to_string(file) };
        let text = text.map_err(|source| match source.kind() {
            ErrorKind::IsADirectory => ManifestError::Directory { file: file.clone() },
            _ => ManifestError::Read { file: file.clone(), source },
        })?;
        documents.add_file(&file.display().to_string(), &text)?;
    }
    Ok(documents)
}

/// Returns the message of an error without the value that it shows if a tag such as `!!int` does not fit: it may be a
/// Secret's.
fn without_values(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let cut = ["invalid value: ", "invalid type: "].iter().find_map(|what| text.split_once(what));
    let Some((path, _)) = cut else { return text };
    let place = error.location().map(|at| format!(" at line {} column {}", at.line(), at.column()));
    format!("{path}a value does not fit its tag{}", place.unwrap_or_default())
}

fn read_all(stdin: &mut dyn Read) -> std::io::Result<String> {
    let mut text = String::new();
    stdin.read_to_string(&mut text)?;
    Ok(text)
}

impl Documents {
    /// Returns the objects that were skipped.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn add_file(&mut self, file: &str, text: &str) -> Result<(), ManifestError> {
        let file = Arc::from(file);
        for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let place = Place { file: Arc::clone(&file), document: index + 1, item: None };
            let yaml = |error| ManifestError::Yaml { place: place.clone(), problem: without_values(&error) };
            let mut value = serde_yaml::Value::deserialize(document).map_err(yaml)?;
            value.apply_merge().map_err(yaml)?;
            if !value.is_null() {
                let value = serde_json::to_value(value).map_err(|_| {
                    place.error(
                        "a key is neither text nor number; write objects of Kubernetes as YAML that JSON can hold",
                    )
                })?;
                self.add(Object::new(place, value)?)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, object: Object) -> Result<(), ManifestError> {
        match object.kind.as_str() {
            "MigrationJob" => self.add_job(object),
            "Secret" => add_values(&mut self.secrets, "Secret", &object, secret),
            "ConfigMap" => add_values(&mut self.config_maps, "ConfigMap", &object, config_map),
            _ if object.fields.get("items").is_some_and(Value::is_array) => self.add_list(object),
            _ => {
                let name = object.fields.get("metadata").and_then(|metadata| metadata.get("name"));
                let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
                self.skipped.push(Skipped { place: object.place, kind: object.kind, name });
                Ok(())
            }
        }
    }

    fn add_list(&mut self, mut list: Object) -> Result<(), ManifestError> {
        let Some(Value::Array(items)) = list.fields.remove("items") else { return Ok(()) };
        // Items of typed lists, such as a SecretList, need not repeat their kind.
        let kind = list.kind.strip_suffix("List").filter(|kind| !kind.is_empty());
        for (index, mut item) in items.into_iter().enumerate() {
            if let (Some(kind), Value::Object(fields)) = (kind, &mut item) {
                set_if_absent(fields, "kind", kind);
                set_if_absent(fields, "apiVersion", &list.api_version);
            }
            let place = Place { item: Some(index + 1), ..list.place.clone() };
            self.add(Object::new(place, item)?)?;
        }
        Ok(())
    }

    fn add_job(&mut self, object: Object) -> Result<(), ManifestError> {
        object.expect_version("s3migration.dev/v1alpha1")?;
        let (name, place) = (object.name()?, object.place);
        if let Some(first) = self.jobs.iter().find(|job| job.name == name) {
            return Err(duplicate("MigrationJob", &name, &first.place, &place));
        }
        self.jobs.push(JobDocument { place, name, object: Value::Object(object.fields) });
        Ok(())
    }
}

fn set_if_absent(fields: &mut Map<String, Value>, name: &str, value: &str) {
    fields.entry(name).or_insert_with(|| value.into());
}

fn add_values(
    all: &mut BTreeMap<ObjectName, Found<Values>>,
    kind: &'static str,
    object: &Object,
    read: fn(&Object) -> Result<Values, ManifestError>,
) -> Result<(), ManifestError> {
    let name = object.name()?;
    if let Some(first) = all.get(&name) {
        return Err(duplicate(kind, &name, &first.place, &object.place));
    }
    all.insert(name, Found { place: object.place.clone(), content: read(object)? });
    Ok(())
}

fn duplicate(kind: &'static str, name: &ObjectName, first: &Place, second: &Place) -> ManifestError {
    ManifestError::Duplicate { kind, name: name.to_string(), first: first.clone(), second: second.clone() }
}
