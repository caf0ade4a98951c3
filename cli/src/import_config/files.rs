//! Reads the predecessor's files.

use configparser::ini::Ini;
use serde_json::{Map, Value};

use super::error::ImportError;
use super::found::{Found, Given, Keys, Left, Rule};
use super::python::{self, Literal};

/// Name of the cluster's configuration file in messages.
const CLUSTER: &str = "the cluster configuration";
/// Name of the Lambda functions' environment in messages.
const ENVIRONMENT: &str = "the serverless environment";
/// Name of the CDK program in messages.
const PROGRAM: &str = "app.py";
/// Name of the list of buckets in messages.
const BUCKETS: &str = "the bucket list";
/// Name of the stored credentials in messages.
const CREDENTIALS: &str = "the credentials";

/// Adds the settings of `s3_migration_cluster_config.ini`.
pub fn cluster_config(text: &str, found: &mut Found) -> Result<(), ImportError> {
    let mut ini = Ini::new_cs();
    // Python's parser knows comments only as whole lines, and continues values on indented lines.
    ini.set_inline_comment_symbols(Some(&[]));
    ini.set_multiline(true);
    let sections =
        ini.read(text.trim_start_matches('\u{feff}').to_owned()).map_err(|error| malformed(CLUSTER, error))?;
    let mut settings: Vec<_> = sections.into_values().flatten().collect();
    settings.sort();
    for (name, value) in settings {
        found.add(Given { name, value: value.unwrap_or_default(), from: CLUSTER });
    }
    Ok(())
}

/// Adds the bucket list: the value of the parameter, or what `aws ssm get-parameter` prints.
pub fn bucket_para(text: &str, found: &mut Found) -> Result<(), ImportError> {
    let Value::Array(entries) = parameter(text).map_err(|error| malformed(BUCKETS, error))? else {
        return Err(malformed(BUCKETS, "it is not a list"));
    };
    let rules = entries.into_iter().zip(1..).map(|(entry, number)| match entry {
        Value::Object(members) => rule(number, members.into_iter().map(|(name, value)| (name, text_of(value))), found),
        _ => Err(malformed(BUCKETS, format!("entry {number} is not an object"))),
    });
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    found.rules = rules;
    Ok(())
}

/// Adds the stored credentials: the value of the parameter, or what `aws ssm get-parameter --with-decryption` prints.
/// Messages tell the place of a mistake, never the text, which may be a secret.
pub fn credentials(text: &str, found: &mut Found) -> Result<(), ImportError> {
    let Ok(Value::Object(members)) = parameter(text) else {
        return Err(malformed(
            CREDENTIALS,
            "they are not a JSON object with aws_access_key_id and aws_secret_access_key",
        ));
    };
    let mut keys = Keys::default();
    for (name, value) in members {
        let value = text_of(value).ok_or_else(|| malformed(CREDENTIALS, format!("{name} is not a text")))?;
        match slot(&mut keys, &name) {
            Some(slot) => *slot = Some(value),
            None => found.left.push(Left::new(
                format!("{} = (hidden) in {CREDENTIALS}", super::yaml::shown(&name)),
                "the predecessor read no such member",
            )),
        }
    }
    if !keys.are_complete() {
        return Err(malformed(CREDENTIALS, "aws_access_key_id or aws_secret_access_key is missing"));
    }
    found.keys = keys;
    Ok(())
}

fn slot<'a>(keys: &'a mut Keys, name: &str) -> Option<&'a mut Option<String>> {
    match name {
        "aws_access_key_id" => Some(&mut keys.id),
        "aws_secret_access_key" => Some(&mut keys.secret),
        "aws_session_token" => Some(&mut keys.token),
        "region" | "aws_access_key_region" => Some(&mut keys.region),
        _ => None,
    }
}

/// Adds the ignore list, split into lines as Python's `str.splitlines` does.
pub fn ignore_list(text: &str, found: &mut Found) {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<_> = text.split(ends).map(ToOwned::to_owned).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    found.patterns = Some(lines);
}

/// Adds the environment of Lambda functions: lines `NAME=VALUE`, the JSON that `aws lambda` prints of one function or
/// of several, or an object of names and values such as `cdk.json`.
pub fn serverless_env(text: &str, found: &mut Found) -> Result<(), ImportError> {
    if text.trim_start().starts_with(['{', '[']) {
        let value = serde_json::from_str(text).map_err(|error| malformed(ENVIRONMENT, place(&error)))?;
        return environment_json(value, found);
    }
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| malformed(ENVIRONMENT, format!("line {number} is not of the form NAME=VALUE")))?;
        variable(name.trim(), unquoted(value.trim()).to_owned(), ENVIRONMENT, found);
    }
    Ok(())
}

fn environment_json(value: Value, found: &mut Found) -> Result<(), ImportError> {
    match value {
        Value::Array(functions) => functions.into_iter().try_for_each(|function| environment_json(function, found)),
        Value::Object(mut members) => {
            if members.get("Functions").is_some_and(Value::is_array)
                && let Some(functions) = members.remove("Functions")
            {
                environment_json(functions, found)?;
            }
            if members.get("Environment").is_some_and(Value::is_object)
                && let Some(environment) = members.remove("Environment")
            {
                describe_function(members, found);
                return environment_json(environment, found);
            }
            for name in ["Variables", "context"] {
                if members.get(name).is_some_and(Value::is_object)
                    && let Some(inner) = members.remove(name)
                {
                    environment_json(inner, found)?;
                }
            }
            for (name, value) in members {
                let value = text_of(value).unwrap_or_else(|| "(not a text)".to_owned());
                variable(&name, value, ENVIRONMENT, found);
            }
            Ok(())
        }
        _ => Err(malformed(ENVIRONMENT, "it has neither variables nor functions")),
    }
}

/// Takes the region from the description of a function, and names the rest of it.
fn describe_function(mut members: Map<String, Value>, found: &mut Found) {
    let arn = "FunctionArn";
    if found.setting(arn).is_none()
        && let Some(Value::String(value)) = members.remove(arn)
    {
        found.add(Given { name: arn.to_owned(), value, from: ENVIRONMENT });
    }
    if !members.is_empty() {
        let names: Vec<_> = members.keys().map(|name| super::yaml::shown(name)).collect();
        let what = format!("{} of a Lambda function", names.join(", "));
        found.left.push(Left::new(what, "they describe the function, which pods replace"));
    }
}

/// Adds a variable or a constant. Keys are kept apart from settings.
fn variable(name: &str, value: String, from: &'static str, found: &mut Found) {
    let hidden = |reason: &str| Left::new(format!("{name} = (hidden) in {from}"), reason);
    if matches!(name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN") {
        found.left.push(hidden("they are the Lambda function's own temporary keys"));
        return;
    }
    found.is_serverless |= name == "StorageClass" || name == "JobType";
    // Early releases kept the stored keys in variables.
    match slot(&mut found.keys, name).filter(|_| name != "region") {
        None => found.add(Given { name: name.to_owned(), value, from }),
        Some(slot) if slot.is_none() => *slot = Some(value),
        Some(slot) if *slot == Some(value) => {}
        Some(_) => found.left.push(hidden("other credentials were given before, and count")),
    }
}

/// Adds the constants of the CDK program.
pub fn app_py(text: &str, found: &mut Found) -> Result<(), ImportError> {
    let mut expressions = Vec::new();
    for python::Assignment { name, value } in python::assignments(text) {
        match value {
            None => expressions.push(name),
            Some(Literal::List(entries)) if name == "bucket_para" => program_rules(entries, found)?,
            Some(Literal::Text(value) | Literal::Word(value)) => variable(&name, value, PROGRAM, found),
            Some(Literal::List(_) | Literal::Dict(_)) => {
                found.left.push(Left::new(format!("{name} in {PROGRAM}"), "the predecessor has no such setting"));
            }
        }
    }
    if !expressions.is_empty() {
        let what = format!("{} in {PROGRAM}", expressions.join(", "));
        found.left.push(Left::new(what, "they are part of the program, not values"));
    }
    Ok(())
}

/// Takes the bucket list of the program, unless the deployed one was given, which may have been edited since.
fn program_rules(entries: Vec<Literal>, found: &mut Found) -> Result<(), ImportError> {
    let rules = entries.into_iter().zip(1..).map(|(entry, number)| match entry {
        Literal::Dict(members) => rule(number, members.into_iter().map(member), found),
        _ => Err(malformed(PROGRAM, format!("entry {number} of bucket_para is not a dictionary of texts"))),
    });
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    if found.rules.is_empty() {
        found.rules = rules;
        return Ok(());
    }
    let reason = "--bucket-para is the deployed list, and counts";
    let other = rules.into_iter().filter(|rule| {
        let at = |other: &Rule| Rule { number: rule.number, ..other.clone() };
        !found.rules.iter().any(|kept| at(kept) == *rule)
    });
    let left: Vec<_> = other.map(|rule| Left::new(format!("{} in {PROGRAM}", rule.shown()), reason)).collect();
    found.left.extend(left);
    Ok(())
}

/// Returns name and value of a member; no value if it is not a text.
fn member((name, value): (Literal, Literal)) -> (String, Option<String>) {
    let name = if let Literal::Text(name) | Literal::Word(name) = name { name } else { "a member".to_owned() };
    let value = if let Literal::Text(value) = value { Some(value) } else { None };
    (name, value)
}

/// Reads an entry of the bucket list. The predecessor needs all four members; prefixes may be missing here.
fn rule(
    number: usize,
    members: impl Iterator<Item = (String, Option<String>)>,
    found: &mut Found,
) -> Result<Rule, ImportError> {
    let mut rule = Rule { number, ..Rule::default() };
    for (name, value) in members {
        let value = value.ok_or_else(|| malformed(BUCKETS, format!("{name} of entry {number} is not a text")))?;
        match name.as_str() {
            "src_bucket" => rule.src_bucket = value,
            "src_prefix" => rule.src_prefix = value,
            "des_bucket" => rule.des_bucket = value,
            "des_prefix" => rule.des_prefix = value,
            _ => {
                let given = Given { name, value, from: BUCKETS };
                let what = format!("{} = {} of entry {number} of {BUCKETS}", given.name, found.shown(&given));
                found.left.push(Left::new(what, "the predecessor read no such member"));
            }
        }
    }
    for (name, value) in [("src_bucket", &rule.src_bucket), ("des_bucket", &rule.des_bucket)] {
        if value.is_empty() {
            return Err(malformed(BUCKETS, format!("entry {number} has no {name}")));
        }
    }
    Ok(rule)
}

/// Parses the value of a parameter, or takes it from what the AWS CLI prints. Errors tell the place only.
fn parameter(text: &str) -> Result<Value, String> {
    let parsed: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| place(&error))?;
    match parsed.pointer("/Parameter/Value").and_then(Value::as_str) {
        Some(inner) => serde_json::from_str(inner).map_err(|error| place(&error)),
        None => Ok(parsed),
    }
}

/// Returns the place of a mistake in JSON, without the text around it.
fn place(error: &serde_json::Error) -> String {
    format!("it is not JSON at line {}, column {}", error.line(), error.column())
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

fn malformed(what: &'static str, problem: impl Into<String>) -> ImportError {
    ImportError::Malformed { what, problem: problem.into() }
}

#[cfg(test)]
mod tests;
