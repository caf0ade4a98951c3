//! Volumes of pods: those that hold objects of the namespace, or nothing.

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, ConfigMapProjection, ConfigMapVolumeSource, EmptyDirVolumeSource, SecretProjection,
    SecretVolumeSource,
};
use kube_derive::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kubernetes::bounded;

/// A volume of a pod: exactly one of emptyDir, configMap, secret, projected and csi.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.hostPath)").message(
    "hostPath is refused, since it gives pods files of their node: write emptyDir, configMap, secret, projected or csi",
))]
#[x_kube(validation = Rule::new(
    "has(self.hostPath) || [has(self.emptyDir), has(self.configMap), has(self.secret), has(self.projected), has(self.csi)]\
     .filter(given, given).size() == 1",
).message("a volume takes exactly one of emptyDir, configMap, secret, projected and csi; other kinds are refused"))]
#[x_kube(validation = Rule::new("!has(self.secret) || has(self.secret.secretName)").message(
    "the volume does not say which Secret it holds: add secret.secretName",
))]
pub struct Volume {
    /// Name of the volume, for volumeMounts.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')").message(
        "not the name of a volume: write lower-case letters, digits and hyphens",
    ))]
    #[x_kube(validation = Rule::new("!self.matches('^(config$|source-|destination-|queue-|ledger-)')").message(
        "config and names that begin with source-, destination-, queue- or ledger- are the operator's own: choose another \
         name",
    ))]
    pub name: String,

    /// An empty directory, which goes with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<EmptyDirVolumeSource>")]
    pub empty_dir: Option<EmptyDirVolumeSource>,

    /// The keys of a ConfigMap in the job's namespace, as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<ConfigMapVolumeSource>")]
    pub config_map: Option<ConfigMapVolumeSource>,

    /// The keys of a Secret in the job's namespace, as files. The pod's group must be able to read them: defaultMode 288
    /// (0440).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<SecretVolumeSource>")]
    pub secret: Option<SecretVolumeSource>,

    /// Several Secrets and ConfigMaps in one directory, or a token for AWS STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projected: Option<Projected>,

    /// A volume that a CSI driver makes for the pod, such as that of the Secrets Store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<CSIVolumeSource>")]
    pub csi: Option<CSIVolumeSource>,

    /// Refused. The field exists for the message that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub host_path: Option<Value>,
}

/// Several sources in one directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Projected {
    /// Mode of the files. Absent = 420 (0644).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<i32>,

    /// What the directory holds.
    #[schemars(length(min = 1, max = 20))]
    pub sources: Vec<ProjectedSource>,
}

/// One source of a directory: exactly one of secret, configMap and serviceAccountToken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.secret), has(self.configMap), has(self.serviceAccountToken)].filter(given, given).size() == 1",
).message("a projected source takes exactly one of secret, configMap and serviceAccountToken; other kinds are refused"))]
pub struct ProjectedSource {
    /// Keys of a Secret in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<SecretProjection>")]
    pub secret: Option<SecretProjection>,

    /// Keys of a ConfigMap in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<ConfigMapProjection>")]
    pub config_map: Option<ConfigMapProjection>,

    /// A token of the pod's service account for AWS STS, for a role that the cluster's identities may assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<StsToken>,
}

/// A token of the pod's service account for AWS STS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StsToken {
    /// Whom the token is for: `sts.amazonaws.com`, or STS in a region.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^sts([.][a-z0-9-]+)?[.]amazonaws[.]com([.]cn)?$')").message(
        "a token for another audience than AWS STS could be used against Kubernetes: write sts.amazonaws.com, or STS in a \
         region",
    ))]
    pub audience: String,

    /// Seconds for which a token is valid; it is renewed before. Absent = 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 600, max = 86_400))]
    pub expiration_seconds: Option<i64>,

    /// Name of the file.
    #[schemars(length(min = 1, max = 1_024))]
    pub path: String,
}

/// Where a volume is found in the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Name of one of volumes.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Directory in the pod. Not one of the program's own, or above them.
    #[schemars(length(min = 2, max = 512))]
    #[x_kube(validation = Rule::new("self.startsWith('/') && !self.contains(':') && !self.contains('//') && !self.contains('..') && !self.contains('/./') && !self.endsWith('/.')").message(
        "not a directory of a pod: write an absolute path without '..', '/./', '//' and ':'",
    ))]
    #[x_kube(validation = Rule::new(
        "!self.matches('^/((etc|var|run|var/run|usr|usr/local)/?|(etc/s3-migration|(var/)?run/s3-migration|usr/local/bin)(/.*)?)$')",
    ).message("the program's own files would be hidden: mount the volume elsewhere, such as under /mnt"))]
    pub mount_path: String,

    /// Directory or file in the volume to mount. Absent = the whole volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub sub_path: Option<String>,

    /// The pod can't write there. `false` by default; only volumes of emptyDir and csi can be written at all.
    #[serde(default)]
    pub read_only: bool,
}

/// An object of the namespace that a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeObject<'a> {
    /// A Secret.
    Secret(&'a str),
    /// A ConfigMap.
    ConfigMap(&'a str),
}

impl Volume {
    /// Returns the Secrets and ConfigMaps that the volume holds, or that its driver reads.
    pub fn objects(&self) -> Vec<VolumeObject<'_>> {
        let Self { name: _, empty_dir: _, config_map, secret, projected, csi, host_path: _ } = self;
        let driver = csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
        let mut found = Vec::new();
        found.extend(config_map.iter().map(|map| VolumeObject::ConfigMap(&map.name)));
        found.extend(secret.iter().filter_map(|secret| secret.secret_name.as_deref()).map(VolumeObject::Secret));
        found.extend(driver.map(|secret| VolumeObject::Secret(&secret.name)));
        for source in projected.iter().flat_map(|projected| &projected.sources) {
            found.extend(source.secret.iter().map(|secret| VolumeObject::Secret(&secret.name)));
            found.extend(source.config_map.iter().map(|map| VolumeObject::ConfigMap(&map.name)));
        }
        found
    }
}

fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 16, "x-kubernetes-preserve-unknown-fields": true})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_that_a_volume_names_is_found() {
        let volumes: Vec<Volume> = serde_yaml::from_str(
            "[{name: a, emptyDir: {}}, {name: b, configMap: {name: map}}, {name: c, secret: {secretName: keys}}, {name: d, csi: \
             {driver: x, nodePublishSecretRef: {name: login}}}, {name: e, projected: {sources: [{secret: {name: one}}, \
             {configMap: {name: two}}, {serviceAccountToken: {audience: sts.amazonaws.com, path: token}}]}}]",
        )
        .unwrap();
        let found: Vec<_> = volumes.iter().flat_map(Volume::objects).collect();
        let expected = [
            VolumeObject::ConfigMap("map"),
            VolumeObject::Secret("keys"),
            VolumeObject::Secret("login"),
            VolumeObject::Secret("one"),
            VolumeObject::ConfigMap("two"),
        ];
        assert_eq!(found, expected);
    }
}
