//! The affinity of pods, as it was written.

mod rules;

use k8s_openapi::api::core::v1::Affinity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An affinity as it was written. The schema of Kubernetes' type takes 32 KB, so that the resource's own has only the
/// members that Kubernetes requires, and [`WrittenAffinity::read`] refuses what else is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrittenAffinity(Value);

/// Why a value is no affinity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AffinityError {
    /// A member has a wrong type or value, or is missing.
    #[error("failed to read affinity at {path}: {problem}; write an Affinity of Kubernetes")]
    Wrong {
        /// The member.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such member.
    #[error("failed to read affinity: an Affinity of Kubernetes has no {0}; correct its name or remove it")]
    Unknown(String),
}

impl WrittenAffinity {
    /// Returns the affinity, or the first member that Kubernetes would refuse. A member that Kubernetes does not know
    /// is an error too: pods would run where they must not.
    pub fn read(&self) -> Result<Affinity, AffinityError> {
        let (mut track, mut unknown) = (serde_path_to_error::Track::new(), None);
        let tracked = serde_path_to_error::Deserializer::new(&self.0, &mut track);
        let mut note = |path: serde_ignored::Path<'_>| {
            unknown.get_or_insert_with(|| path.to_string().replace(".?", ""));
        };
        let affinity = Affinity::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
        match (affinity, unknown) {
            (Ok(affinity), None) => match rules::check(&affinity) {
                Ok(()) => Ok(affinity),
                Err(rules::Broken { path, problem }) => Err(AffinityError::Wrong { path, problem }),
            },
            (Ok(_), Some(path)) => Err(AffinityError::Unknown(path)),
            (Err(error), _) => Err(AffinityError::Wrong { path: track.path().to_string(), problem: error.to_string() }),
        }
    }
}

impl JsonSchema for WrittenAffinity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Affinity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let any = open(&json!({}), &[]);
        let terms = json!({"type": "array", "minItems": 1, "items": any});
        let nodes = open(&json!({"nodeSelectorTerms": terms}), &["nodeSelectorTerms"]);
        let key = json!({"type": "string", "minLength": 1, "maxLength": rules::LONGEST_KEY});
        let pod = open(&json!({"topologyKey": key}), &["topologyKey"]);
        let pods = json!({"type": "array", "items": pod});
        let of_pods = |description| preferred_or_required(description, &pods, ("podAffinityTerm", &pod));
        let of_nodes = "Preferred or required nodes: a NodeAffinity of Kubernetes.";
        json_schema!({
            "type": "object",
            "properties": {
                "nodeAffinity": preferred_or_required(of_nodes, &nodes, ("preference", &any)),
                "podAffinity": of_pods("Pods to run beside: a PodAffinity of Kubernetes."),
                "podAntiAffinity": of_pods("Pods to run apart from: a PodAntiAffinity of Kubernetes."),
            },
        })
    }
}

/// Returns the schema of what is required, and of preferences with weights, whose terms are in a member.
fn preferred_or_required(description: &str, required: &Value, (member, term): (&str, &Value)) -> Value {
    let weight = json!({"type": "integer", "minimum": rules::WEIGHTS.start(), "maximum": rules::WEIGHTS.end()});
    let preferred = open(&json!({"weight": weight, member: term}), &["weight", member]);
    let properties = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": {"type": "array", "items": preferred},
    });
    let mut schema = open(&properties, &[]);
    schema["description"] = description.into();
    schema
}

/// Returns the schema of an object that may have other members, too.
fn open(properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    if properties.as_object().is_some_and(|properties| !properties.is_empty()) {
        schema["properties"] = properties.clone();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Affinity, AffinityError> {
        WrittenAffinity(value).read()
    }

    #[test]
    fn an_affinity_of_kubernetes_is_read_as_it_is() {
        let term = json!({"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"});
        let written = json!({
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
            ]}},
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]},
        });
        assert_eq!(serde_json::to_value(read(written.clone()).unwrap()).unwrap(), written);
        assert_eq!(read(json!({})), Ok(Affinity::default()));
    }

    #[test]
    fn what_is_none_is_refused_with_its_place() {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let node = |value: Value| json!({"nodeAffinity": {required: value}});
        for (value, path) in [
            (node(json!("disk=fast")), format!("nodeAffinity.{required}")),
            (node(json!([])), format!("nodeAffinity.{required}")),
            (
                node(json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": 1}]}]})),
                format!("nodeAffinity.{required}.nodeSelectorTerms[0].matchExpressions[0].operator"),
            ),
            (json!({"podAffinity": 7}), "podAffinity".to_owned()),
        ] {
            let Err(AffinityError::Wrong { path: found, problem }) = read(value.clone()) else {
                panic!("{value} was not refused as wrong");
            };
            assert_eq!(found, path, "{value}");
            assert!(problem.contains("invalid type"), "{problem}");
        }
    }

    #[test]
    fn members_that_kubernetes_does_not_know_are_refused() {
        for (value, path) in [
            (json!({"nodeAffinty": {}}), "nodeAffinty"),
            (json!({"nodeAffinity": {"required": {}}}), "nodeAffinity.required"),
            (
                json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "weight": 1}]}}),
                "podAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.weight",
            ),
        ] {
            assert_eq!(read(value.clone()), Err(AffinityError::Unknown(path.to_owned())), "{value}");
        }
    }
}
