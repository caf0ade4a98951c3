//! The volumes that authors of jobs add to pods.

use k8s_openapi::api::core::v1::{
    ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use migration_api::pods::PodSettings;
use migration_api::volumes::{Mount, Projected, ProjectedSource, StsToken, Volume as Written};

/// Returns the volumes.
pub fn volumes(settings: &PodSettings) -> impl Iterator<Item = Volume> {
    settings.volumes.iter().cloned().map(volume)
}

/// Returns where they are mounted.
pub fn mounts(settings: &PodSettings) -> impl Iterator<Item = VolumeMount> {
    settings.volume_mounts.iter().cloned().map(|Mount { name, mount_path, sub_path, read_only }| VolumeMount {
        name,
        mount_path,
        sub_path,
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    })
}

/// Leaves out hostPath, which the schema refuses.
fn volume(Written { name, empty_dir, config_map, secret, projected, csi, host_path: _ }: Written) -> Volume {
    Volume { name, empty_dir, config_map, secret, projected: projected.map(directory), csi, ..Volume::default() }
}

fn directory(Projected { default_mode, sources }: Projected) -> ProjectedVolumeSource {
    let sources = Some(sources.into_iter().map(source).collect());
    ProjectedVolumeSource { default_mode, sources, ..ProjectedVolumeSource::default() }
}

fn source(ProjectedSource { secret, config_map, service_account_token }: ProjectedSource) -> VolumeProjection {
    let token =
        service_account_token.map(|StsToken { audience, expiration_seconds, path }| ServiceAccountTokenProjection {
            audience: Some(audience),
            expiration_seconds,
            path,
            ..ServiceAccountTokenProjection::default()
        });
    VolumeProjection { secret, config_map, service_account_token: token, ..VolumeProjection::default() }
}
