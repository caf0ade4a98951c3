//! The security context of pods: what Pod Security `restricted` asks for, and user and groups.

use k8s_openapi::api::core::v1::{PodSecurityContext, SELinuxOptions, SeccompProfile};
use migration_api::pod_security::{FsGroupChange, PodSecurity, SeLinux};

/// User and group of the images.
const USER: i64 = 65_532;

/// Builds the security context. `fixed_ids` applies where the settings do not say whether user and groups are fixed.
pub fn context(settings: Option<&PodSecurity>, fixed_ids: bool) -> PodSecurityContext {
    let PodSecurity {
        fixed_ids: wanted,
        run_as_user,
        run_as_group,
        fs_group,
        fs_group_change_policy,
        supplemental_groups,
        se_linux_options,
    } = settings.cloned().unwrap_or_default();
    let fixed = wanted.unwrap_or(fixed_ids).then_some(USER);
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: run_as_user.or(fixed),
        run_as_group: run_as_group.or(fixed),
        fs_group: fs_group.or(fixed),
        fs_group_change_policy: fs_group_change_policy.map(FsGroupChange::as_str).map(ToOwned::to_owned),
        supplemental_groups: Some(supplemental_groups).filter(|groups| !groups.is_empty()),
        se_linux_options: se_linux_options.map(se_linux),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn se_linux(SeLinux { level, kind }: SeLinux) -> SELinuxOptions {
    SELinuxOptions { level, type_: kind, ..SELinuxOptions::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(yaml: &str, fixed_ids: bool) -> Value {
        let settings: Option<PodSecurity> = serde_yaml::from_str(yaml).unwrap();
        let mut context = serde_json::to_value(context(settings.as_ref(), fixed_ids)).unwrap();
        let fixed = [context["runAsNonRoot"].take(), context["seccompProfile"].take()];
        assert_eq!(fixed, [json!(true), json!({"type": "RuntimeDefault"})], "{yaml}");
        let members = context.as_object_mut().unwrap();
        members.retain(|_, value| !value.is_null());
        context
    }

    #[test]
    fn ids_are_fixed_unless_the_cluster_assigns_them() {
        let ours = json!({"runAsUser": 65_532, "runAsGroup": 65_532, "fsGroup": 65_532});
        for (yaml, fixed_ids, expected) in [
            ("null", true, ours.clone()),
            ("{}", true, ours.clone()),
            ("{fixedIds: true}", false, ours.clone()),
            ("null", false, json!({})),
            ("{fixedIds: false}", true, json!({})),
            ("{runAsUser: 1000}", true, json!({"runAsUser": 1000, "runAsGroup": 65_532, "fsGroup": 65_532})),
            ("{runAsUser: 1000640000}", false, json!({"runAsUser": 1_000_640_000})),
            ("{fixedIds: false, runAsGroup: 0, fsGroup: 5}", true, json!({"runAsGroup": 0, "fsGroup": 5})),
        ] {
            assert_eq!(of(yaml, fixed_ids), expected, "{yaml} {fixed_ids}");
        }
    }

    #[test]
    fn groups_and_labels_are_the_users() {
        let yaml = "{fixedIds: false, supplementalGroups: [7], fsGroupChangePolicy: OnRootMismatch, seLinuxOptions: {type: \
                    container_t, level: 's0:c1'}}";
        let expected = json!({
            "supplementalGroups": [7], "fsGroupChangePolicy": "OnRootMismatch",
            "seLinuxOptions": {"type": "container_t", "level": "s0:c1"},
        });
        assert_eq!(of(yaml, true), expected);
    }
}
