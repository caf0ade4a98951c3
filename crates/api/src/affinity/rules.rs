//! What Kubernetes requires of an affinity beyond the types of its members.
//!
//! Source: `validateAffinity` in `pkg/apis/core/validation` of Kubernetes. Values of node labels are left to the API
//! server, whose versions differ in what they take.

use std::ops::RangeInclusive;

use k8s_openapi::api::core::v1::{Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// The weights of preferences.
pub const WEIGHTS: RangeInclusive<i32> = 1..=100;
/// The longest label key: a prefix, a slash and a name.
pub const LONGEST_KEY: usize = LONGEST_PREFIX + 1 + LONGEST_NAME;
const LONGEST_PREFIX: usize = 253;
const LONGEST_NAME: usize = 63;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A member that breaks a rule.
#[derive(Debug)]
pub struct Broken {
    /// The member.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

type Checked = Result<(), Broken>;

fn broken(path: String, problem: impl Into<String>) -> Checked {
    Err(Broken { path, problem: problem.into() })
}

/// Returns the first member that breaks a rule.
pub fn check(affinity: &Affinity) -> Checked {
    if let Some(node) = &affinity.node_affinity {
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            let path = format!("nodeAffinity.{REQUIRED}.nodeSelectorTerms");
            if selector.node_selector_terms.is_empty() {
                return broken(path, "at least one term is needed");
            }
            each(&path, Some(&selector.node_selector_terms), node_term)?;
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.as_ref();
        each(&format!("nodeAffinity.{PREFERRED}"), preferred, |path, term| {
            weight(path, term.weight)?;
            node_term(&format!("{path}.preference"), &term.preference)
        })?;
    }
    let beside = affinity.pod_affinity.as_ref();
    let apart = affinity.pod_anti_affinity.as_ref();
    for (member, required, preferred) in [
        (
            "podAffinity",
            beside.and_then(|pods| pods.required_during_scheduling_ignored_during_execution.as_ref()),
            beside.and_then(|pods| pods.preferred_during_scheduling_ignored_during_execution.as_ref()),
        ),
        (
            "podAntiAffinity",
            apart.and_then(|pods| pods.required_during_scheduling_ignored_during_execution.as_ref()),
            apart.and_then(|pods| pods.preferred_during_scheduling_ignored_during_execution.as_ref()),
        ),
    ] {
        each(&format!("{member}.{REQUIRED}"), required, pod_term)?;
        each(&format!("{member}.{PREFERRED}"), preferred, |path, term| {
            weight(path, term.weight)?;
            pod_term(&format!("{path}.podAffinityTerm"), &term.pod_affinity_term)
        })?;
    }
    Ok(())
}

/// Checks the items of a list.
fn each<T>(path: &str, items: Option<&Vec<T>>, check: impl Fn(&str, &T) -> Checked) -> Checked {
    items.into_iter().flatten().enumerate().try_for_each(|(place, item)| check(&format!("{path}[{place}]"), item))
}

fn weight(path: &str, weight: i32) -> Checked {
    if WEIGHTS.contains(&weight) {
        return Ok(());
    }
    broken(format!("{path}.weight"), format!("{weight} is not in {} … {}", WEIGHTS.start(), WEIGHTS.end()))
}

fn node_term(path: &str, term: &NodeSelectorTerm) -> Checked {
    each(&format!("{path}.matchExpressions"), term.match_expressions.as_ref(), |path, wanted| {
        key(&format!("{path}.key"), &wanted.key)?;
        match (wanted.operator.as_str(), wanted.values.as_ref().map_or(0, Vec::len)) {
            ("Gt" | "Lt", 1) => Ok(()),
            ("Gt" | "Lt", _) => broken(format!("{path}.values"), "Gt and Lt need one value"),
            (operator, values) => selects(path, operator, values, "In, NotIn, Exists, DoesNotExist, Gt or Lt"),
        }
    })?;
    each(&format!("{path}.matchFields"), term.match_fields.as_ref(), field)
}

/// Checks a field of a node: only its name can be selected.
fn field(path: &str, wanted: &NodeSelectorRequirement) -> Checked {
    if wanted.key != "metadata.name" {
        return broken(format!("{path}.key"), format!("{:?} is not metadata.name", wanted.key));
    }
    if !["In", "NotIn"].contains(&wanted.operator.as_str()) {
        return broken(format!("{path}.operator"), format!("{:?} is not In or NotIn", wanted.operator));
    }
    if wanted.values.as_ref().map_or(0, Vec::len) != 1 {
        return broken(format!("{path}.values"), "one value is needed");
    }
    Ok(())
}

/// Checks an operator that compares sets, and the number of its values.
fn selects(path: &str, operator: &str, values: usize, known: &str) -> Checked {
    match operator {
        "In" | "NotIn" if values == 0 => broken(format!("{path}.values"), "In and NotIn need a value"),
        "Exists" | "DoesNotExist" if values > 0 => {
            broken(format!("{path}.values"), "Exists and DoesNotExist take no values")
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => Ok(()),
        other => broken(format!("{path}.operator"), format!("{other:?} is not {known}")),
    }
}

fn pod_term(path: &str, term: &PodAffinityTerm) -> Checked {
    key(&format!("{path}.topologyKey"), &term.topology_key)?;
    for (member, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        selector.as_ref().map_or(Ok(()), |selector| label_selector(&format!("{path}.{member}"), selector))?;
    }
    each(&format!("{path}.namespaces"), term.namespaces.as_ref(), |path, name| {
        if is_namespace(name) { Ok(()) } else { broken(path.to_owned(), format!("{name:?} is no name of a namespace")) }
    })?;
    for (member, keys) in [("matchLabelKeys", &term.match_label_keys), ("mismatchLabelKeys", &term.mismatch_label_keys)]
    {
        let path = format!("{path}.{member}");
        if keys.as_ref().is_some_and(|keys| !keys.is_empty()) && term.label_selector.is_none() {
            return broken(path, "it needs a labelSelector beside it");
        }
        each(&path, keys.as_ref(), |path, name| key(path, name))?;
    }
    let both = |name: &String| term.match_label_keys.iter().flatten().any(|other| other == name);
    match term.mismatch_label_keys.iter().flatten().find(|name| both(name)) {
        Some(name) => broken(format!("{path}.mismatchLabelKeys"), format!("{name:?} is in matchLabelKeys too")),
        None => Ok(()),
    }
}

fn label_selector(path: &str, selector: &LabelSelector) -> Checked {
    for (name, text) in selector.match_labels.iter().flatten() {
        key(&format!("{path}.matchLabels"), name)?;
        value(&format!("{path}.matchLabels.{name}"), text)?;
    }
    each(&format!("{path}.matchExpressions"), selector.match_expressions.as_ref(), |path, wanted| {
        key(&format!("{path}.key"), &wanted.key)?;
        let values = wanted.values.as_ref();
        selects(path, &wanted.operator, values.map_or(0, Vec::len), "In, NotIn, Exists or DoesNotExist")?;
        each(&format!("{path}.values"), values, |path, text| value(path, text))
    })
}

fn key(path: &str, key: &str) -> Checked {
    if key.is_empty() {
        return broken(path.to_owned(), "it is missing or empty");
    }
    if is_key(key) { Ok(()) } else { broken(path.to_owned(), format!("{key:?} is no key of a label")) }
}

fn value(path: &str, text: &str) -> Checked {
    if text.is_empty() || is_name(text) {
        Ok(())
    } else {
        broken(path.to_owned(), format!("{text:?} is no value of a label"))
    }
}

/// Returns true for a name, or a DNS subdomain, a slash and a name.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(is_dns_part) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= LONGEST_NAME && text.chars().all(is_inner) && ends_are(text, |c| c.is_ascii_alphanumeric())
}

fn is_namespace(name: &str) -> bool {
    name.len() <= LONGEST_NAME && is_dns_part(name)
}

fn is_dns_part(text: &str) -> bool {
    let is_outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.chars().all(|c| is_outer(c) || c == '-') && ends_are(text, is_outer)
}

/// Returns true if the first and the last character are such. There is none in an empty text.
fn ends_are(text: &str, such: impl Fn(char) -> bool) -> bool {
    text.starts_with(&such) && text.ends_with(such)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checked(affinity: Value) -> Option<String> {
        let affinity = serde_json::from_value(affinity).unwrap();
        check(&affinity).err().map(|Broken { path, problem }| format!("{path}: {problem}"))
    }

    fn node(expression: &Value) -> Value {
        json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}})
    }

    fn pods(term: &Value) -> Value {
        json!({"podAntiAffinity": {REQUIRED: [term]}})
    }

    fn selecting(selector: &Value) -> Value {
        pods(&json!({"topologyKey": "zone", "labelSelector": selector}))
    }

    #[test]
    fn what_kubernetes_takes_is_taken() {
        for affinity in [
            json!({"nodeAffinity": {}, "podAffinity": {}}),
            json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}]}}}),
            node(&json!({"key": "example.com/disk", "operator": "In", "values": ["fast"]})),
            node(&json!({"key": "cpus", "operator": "Gt", "values": ["4"]})),
            node(&json!({"key": "gpu", "operator": "DoesNotExist"})),
            json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
            ]}]}}}),
            json!({"nodeAffinity": {PREFERRED: [{"weight": 100, "preference": {}}]}}),
            json!({"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}}]}}),
            pods(&json!({
                "topologyKey": "zone", "namespaces": ["media"], "namespaceSelector": {}, "matchLabelKeys": ["a"],
                "labelSelector": {"matchLabels": {"a": ""}, "matchExpressions": [{"key": "b", "operator": "Exists"}]},
            })),
        ] {
            assert_eq!(checked(affinity.clone()), None, "{affinity}");
        }
    }

    #[test]
    fn what_kubernetes_refuses_is_refused_with_its_place() {
        let in_node = "nodeSelectorTerms[0].matchExpressions[0]";
        for (affinity, place, problem) in [
            (json!({"nodeAffinity": {REQUIRED: {}}}), "nodeSelectorTerms".to_owned(), "at least one"),
            (node(&json!({"key": "a", "operator": "Is"})), format!("{in_node}.operator"), "\"Is\" is not In, NotIn"),
            (node(&json!({"key": "a"})), format!("{in_node}.operator"), "\"\" is not In"),
            (node(&json!({"key": "a", "operator": "In"})), format!("{in_node}.values"), "need a value"),
            (
                node(&json!({"key": "a", "operator": "Exists", "values": ["b"]})),
                format!("{in_node}.values"),
                "no values",
            ),
            (
                node(&json!({"key": "a", "operator": "Lt", "values": ["1", "2"]})),
                format!("{in_node}.values"),
                "one value",
            ),
            (node(&json!({"operator": "Exists"})), format!("{in_node}.key"), "missing or empty"),
            (node(&json!({"key": "a b", "operator": "Exists"})), format!("{in_node}.key"), "no key of a label"),
            (
                json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [{"key": "spec", "operator": "In"}]}]}}}),
                "nodeSelectorTerms[0].matchFields[0].key".to_owned(),
                "is not metadata.name",
            ),
            (
                json!({"nodeAffinity": {PREFERRED: [{"preference": {}}]}}),
                format!("nodeAffinity.{PREFERRED}[0].weight"),
                "0 is not in 1 … 100",
            ),
            (
                json!({"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "zone"}}]}}),
                format!("podAffinity.{PREFERRED}[0].weight"),
                "101 is not in",
            ),
            (
                json!({"podAffinity": {PREFERRED: [{"weight": 1}]}}),
                format!("podAffinity.{PREFERRED}[0].podAffinityTerm.topologyKey"),
                "missing or empty",
            ),
            (pods(&json!({})), format!("podAntiAffinity.{REQUIRED}[0].topologyKey"), "missing or empty"),
            (pods(&json!({"topologyKey": "/zone"})), "topologyKey".to_owned(), "no key of a label"),
            (pods(&json!({"topologyKey": "zone", "namespaces": ["Media"]})), "namespaces[0]".to_owned(), "no name of"),
            (
                pods(&json!({"topologyKey": "zone", "matchLabelKeys": ["a"]})),
                "matchLabelKeys".to_owned(),
                "labelSelector",
            ),
            (
                pods(&json!({
                    "topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["b", "a"],
                })),
                "mismatchLabelKeys".to_owned(),
                "\"a\" is in matchLabelKeys too",
            ),
            (
                selecting(&json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})),
                "labelSelector.matchExpressions[0].operator".to_owned(),
                "\"Gt\" is not In, NotIn, Exists or DoesNotExist",
            ),
            (selecting(&json!({"matchLabels": {"a": "b c"}})), "labelSelector.matchLabels.a".to_owned(), "no value of"),
        ] {
            let found = checked(affinity.clone()).unwrap_or_else(|| panic!("{affinity} was taken"));
            let (path, text) = found.split_once(": ").unwrap();
            assert!(path.ends_with(&place) && text.contains(problem), "{affinity}: {found}");
        }
    }
}
