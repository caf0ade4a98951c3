//! Decides when configurations that nothing uses are removed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

/// How long a configuration stays after its last use, in milliseconds. A Job of the schedule, or a pod that a rollout has
/// yet to replace, may appear after the template that it was created from was changed.
const KEEP_MS: i64 = 10 * 60 * 1_000;

/// Since when configurations are unused, by name, in milliseconds since 1970.
pub type Unused = BTreeMap<String, i64>;

/// Returns the configurations of `own` to remove, and since when each of those that are not `used` is unused. `before` is
/// the latter of the reconciliation before.
pub fn due<'a>(
    own: &[&'a ConfigMap],
    used: &BTreeSet<String>,
    before: &Unused,
    now: i64,
) -> (Vec<&'a ConfigMap>, Unused) {
    let idle = own.iter().filter(|map| !used.contains(&map.name_any()));
    let since = |map: &ConfigMap| before.get(&map.name_any()).copied().unwrap_or(now);
    let unused = idle.clone().map(|map| (map.name_any(), since(map))).collect();
    (idle.copied().filter(|map| now - since(map) >= KEEP_MS).collect(), unused)
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
            let (due, next) = super::due(&own, &used, &unused, now);
            unused = next;
            due.into_iter().map(ResourceExt::name_any).collect()
        };
        assert_eq!(due(&["a", "b"], 0), Vec::<String>::new());
        assert_eq!(due(&["b"], 1), Vec::<String>::new(), "it may be used by what is not seen yet");
        assert_eq!(due(&["b"], KEEP_MS), Vec::<String>::new());
        assert_eq!(due(&["b"], KEEP_MS + 1), ["a"]);
        assert_eq!(due(&["a", "b"], KEEP_MS + 2), Vec::<String>::new(), "it is used again");
        assert_eq!(due(&["b"], KEEP_MS + 3), Vec::<String>::new(), "and counted anew");
    }
}
