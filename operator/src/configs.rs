//! Configurations that nothing uses any more, and when they go.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use kube::ResourceExt;

/// How long a configuration stays after its last use, in milliseconds: a Job that the schedule makes, or a pod that a
/// rollout has yet to replace, may be seen later than the template that it was made by.
const KEEP_MS: i64 = 10 * 60 * 1_000;

/// Since when configurations are not used, by their names, in milliseconds since 1970.
pub type Unused = BTreeMap<String, i64>;

/// Names of the `ConfigMap`s that a pod's volumes show.
pub fn mounted(spec: Option<&PodSpec>) -> impl Iterator<Item = String> + '_ {
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

/// Those to be removed: the job's own, not `used`, since long enough. What is remembered is brought up to date.
pub fn due<'a>(own: &[&'a ConfigMap], used: &BTreeSet<String>, unused: &mut Unused, now: i64) -> Vec<&'a ConfigMap> {
    let idle: Vec<_> = own.iter().copied().filter(|map| !used.contains(&map.name_any())).collect();
    unused.retain(|name, _| idle.iter().any(|map| map.name_any() == *name));
    idle.into_iter().filter(|map| now - *unused.entry(map.name_any()).or_insert(now) >= KEEP_MS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap()
    }

    #[test]
    fn a_configuration_goes_when_nothing_has_used_it_for_ten_minutes() {
        let (a, b) = (map("a"), map("b"));
        let own = [&a, &b];
        let mut unused = Unused::new();
        let mut due = |used: &[&str], now| -> Vec<String> {
            let used = used.iter().map(|name| (*name).to_owned()).collect();
            due(&own, &used, &mut unused, now).into_iter().map(ResourceExt::name_any).collect()
        };
        assert_eq!(due(&["a", "b"], 0), Vec::<String>::new());
        assert_eq!(due(&["b"], 1), Vec::<String>::new(), "it may be used by what is not seen yet");
        assert_eq!(due(&["b"], KEEP_MS), Vec::<String>::new());
        assert_eq!(due(&["b"], KEEP_MS + 1), ["a"]);
        assert_eq!(due(&["a", "b"], KEEP_MS + 2), Vec::<String>::new(), "it is used again");
        assert_eq!(due(&["b"], KEEP_MS + 3), Vec::<String>::new(), "and counted anew");
    }

    #[test]
    fn what_pods_show_is_used() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [],
            "volumes": [{"name": "config", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "k"}}],
        }))
        .unwrap();
        assert_eq!(mounted(Some(&spec)).collect::<Vec<_>>(), ["c"]);
        assert_eq!(mounted(None).count(), 0);
    }
}
