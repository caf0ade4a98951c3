//! The patterns of the ignore list that stand in a `ConfigMap`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use migration_api::Reason;
use migration_api::config::ignore_patterns;
use migration_api::filters::{ConfigMapKey, Filters};

use crate::job_controller::kubernetes::{self, RequestError};
use crate::problem::Problem;

/// Reads the patterns, or says why they cannot be used. Returns no patterns if the job names no `ConfigMap`.
pub async fn read(api: &Api<ConfigMap>, filters: &Filters) -> Result<Result<Vec<String>, Problem>, RequestError> {
    let Some(from) = &filters.ignore_from else { return Ok(Ok(Vec::new())) };
    let key = &from.config_map_key_ref;
    Ok(patterns(key, kubernetes::get(api, &key.name).await?.as_ref()))
}

/// Returns the lines of the text as they are, without the empty ones.
fn patterns(key: &ConfigMapKey, map: Option<&ConfigMap>) -> Result<Vec<String>, Problem> {
    let ConfigMapKey { name, key } = key;
    let problem = |what: &str| {
        let text = format!("ConfigMap {name} of spec.filters.ignoreFrom {what}; no run starts until then");
        Err(Problem::new(Reason::ConfigMapMissing, text))
    };
    let Some(map) = map else { return problem("does not exist in this namespace: create it") };
    match map.data.as_ref().and_then(|data| data.get(key)) {
        Some(text) => Ok(ignore_patterns(text)),
        None => problem(&format!("has no key {key} with text: add it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_pattern() {
        let key = ConfigMapKey { name: "lists".into(), key: "ignore".into() };
        let map = |text: &str| -> ConfigMap {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "lists"}, "data": {"ignore": text}}))
                .unwrap()
        };
        let found = patterns(&key, Some(&map("b/*.tmp\n\n b/#x \r\nb/last"))).unwrap();
        assert_eq!(found, ["b/*.tmp", " b/#x ", "b/last"]);
        for (map, expected) in
            [(None, "does not exist in this namespace"), (Some(ConfigMap::default()), "no key ignore")]
        {
            let problem = patterns(&key, map.as_ref()).unwrap_err();
            assert_eq!(problem.reason, Reason::ConfigMapMissing);
            assert!(problem.message.contains(expected), "{}", problem.message);
        }
    }
}
