//! Violations of the schema, in the words of an API server.

use boon::{ErrorKind, InstanceLocation, InstanceToken, ValidationError};
use serde_json::{Number, Value};

use super::violation::{Violation, ViolationKind};

/// Adds the violations below an error, for an object that the schema refuses.
pub fn collect(error: &ValidationError<'_, '_>, object: &Value, violations: &mut Vec<Violation>) {
    for cause in &error.causes {
        collect(cause, object, violations);
    }
    if error.causes.is_empty() {
        violations.extend(violations_of(&error.kind, &error.instance_location, object));
    }
}

fn violations_of(kind: &ErrorKind<'_, '_>, location: &InstanceLocation<'_>, object: &Value) -> Vec<Violation> {
    let path = path(location);
    match kind {
        ErrorKind::Required { want } => want.iter().map(|field| below(&path, field, ViolationKind::Required)).collect(),
        ErrorKind::AdditionalProperties { got } => {
            got.iter().map(|field| below(&path, field, ViolationKind::Unknown)).collect()
        }
        _ => {
            let (kind, message) = bound(kind, &path, location, object);
            vec![Violation { path, kind, message }]
        }
    }
}

fn below(path: &str, field: &str, kind: ViolationKind) -> Violation {
    Violation { path: joined(path, field), kind, message: String::new() }
}

/// Returns what a value breaks. The value itself is shown only where the schema lists all others.
fn bound(
    kind: &ErrorKind<'_, '_>,
    path: &str,
    location: &InstanceLocation<'_>,
    object: &Value,
) -> (ViolationKind, String) {
    let invalid = |text: String| (ViolationKind::Invalid, format!("{path} in body {text}"));
    match kind {
        ErrorKind::Type { got, want } => {
            let want: Vec<_> = want.iter().map(|kind| kind.to_string()).collect();
            let text = format!("{path} in body must be of type {}: \"{got}\"", want.join(","));
            (ViolationKind::Type, text)
        }
        ErrorKind::Enum { want } => {
            let got = value_at(object, location).map(ToString::to_string).unwrap_or_default();
            let want: Vec<_> = want.iter().filter(|value| !value.is_null()).map(ToString::to_string).collect();
            (ViolationKind::Unsupported, format!("{got}: supported values: {}", want.join(", ")))
        }
        ErrorKind::MaxLength { want, .. } => {
            (ViolationKind::TooLong, format!("may not be more than {want} characters"))
        }
        ErrorKind::MaxItems { got, want } => (ViolationKind::TooLong, format!("{got}: must have at most {want} items")),
        ErrorKind::MaxProperties { got, want } => {
            (ViolationKind::TooLong, format!("{got}: must have at most {want} entries"))
        }
        ErrorKind::MinLength { want, .. } => invalid(format!("should be at least {want} chars long")),
        ErrorKind::MinItems { want, .. } => invalid(format!("should have at least {want} items")),
        ErrorKind::MinProperties { want, .. } => invalid(format!("should have at least {want} entries")),
        ErrorKind::Minimum { want, .. } => invalid(format!("should be greater than or equal to {}", whole(want))),
        ErrorKind::Maximum { want, .. } => invalid(format!("should be less than or equal to {}", whole(want))),
        ErrorKind::Pattern { want, .. } => invalid(format!("should match '{want}'")),
        ErrorKind::Format { want, .. } => invalid(format!("must be of type {want}")),
        // No other keyword is in the schema; should one come, its rule is enforced, in the library's words.
        other => invalid(format!("is refused by the schema: {other}")),
    }
}

/// Returns a bound without the fraction `.0`.
fn whole(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn value_at<'a>(object: &'a Value, location: &InstanceLocation<'_>) -> Option<&'a Value> {
    location.tokens.iter().try_fold(object, |value, token| match token {
        InstanceToken::Prop(name) => value.get(name.as_ref()),
        InstanceToken::Item(index) => value.get(index),
    })
}

fn path(location: &InstanceLocation<'_>) -> String {
    location.tokens.iter().fold(String::new(), |path, token| match token {
        InstanceToken::Prop(name) => joined(&path, name),
        InstanceToken::Item(index) => format!("{path}[{index}]"),
    })
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
