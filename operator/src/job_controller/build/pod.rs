//! The pods of all programs: they have the same image, configuration, Secrets and security settings.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, KeyToPath, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use migration_api::config::CA_FILE;
use migration_api::verify::VerifyMethod;
use migration_core::config::{MountedFrom, session_name};
use migration_core::error::Service;
use migration_core::size::ByteSize;

use super::config_map;
use crate::job_controller::validate::{CA_DIRECTORY, CREDENTIALS_DIRECTORY, ValidatedJob, ValidatedPods};
use crate::names::{self, Component};

/// The directory where the configuration is mounted.
const CONFIG_DIRECTORY: &str = "/etc/s3-migration";
/// User and group of the images.
const USER: i64 = 65_532;
/// How long a worker may take to finish the parts in flight after SIGTERM, in seconds.
pub const GRACE_SECONDS: i64 = 120;

/// The variable by which the SDK names the session of a service account's role; 2 … 64 characters of
/// `[A-Za-z0-9_+=,.@-]`. Source: `AssumeRoleWithWebIdentity` in the STS API reference, `RoleSessionName`.
const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// The program of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Moves objects.
    Worker,
    /// Lists both sides and sends the differences.
    Send,
    /// Compares both sides again by this method.
    Verify(VerifyMethod),
    /// Writes the report of a run.
    Report,
    /// Configures the source buckets to send their events to the queue.
    Notify,
    /// Removes what was configured when the resource is deleted.
    RemoveNotifications,
    /// Aborts unfinished uploads when the resource is deleted.
    AbortUploads,
}

impl Program {
    /// Returns the component in the pod's labels.
    pub const fn component(self) -> Component {
        match self {
            Self::Worker => Component::Worker,
            Self::Verify(_) => Component::Verifier,
            Self::Report => Component::Reporter,
            Self::Notify | Self::RemoveNotifications => Component::Notifier,
            Self::Send | Self::AbortUploads => Component::Jobsender,
        }
    }

    fn command(self) -> (&'static str, &'static [&'static str]) {
        const JOBSENDER: &str = "/usr/local/bin/jobsender";
        match self {
            Self::Worker => ("/usr/local/bin/worker", &[]),
            Self::Send => (JOBSENDER, &["send"]),
            Self::Verify(VerifyMethod::Listing) => (JOBSENDER, &["verify", "--method", "listing"]),
            Self::Verify(VerifyMethod::Checksum) => (JOBSENDER, &["verify", "--method", "checksum"]),
            Self::Verify(VerifyMethod::Read) => (JOBSENDER, &["verify", "--method", "read"]),
            Self::Report => (JOBSENDER, &["report"]),
            Self::Notify => (JOBSENDER, &["notify"]),
            Self::RemoveNotifications => (JOBSENDER, &["notify", "--remove"]),
            Self::AbortUploads => (JOBSENDER, &["abort-uploads"]),
        }
    }

    /// Returns the pod settings. What acts on buckets as workers do needs their permissions, so it runs as they do.
    fn pods(self, job: &ValidatedJob) -> &ValidatedPods {
        match self {
            Self::Worker | Self::AbortUploads | Self::Report | Self::Notify | Self::RemoveNotifications => &job.worker,
            Self::Send | Self::Verify(_) => &job.jobsender,
        }
    }
}

/// Builds the template of a program's pods. `config_map` holds its configuration.
pub fn template(job: &ValidatedJob, program: Program, config_map: String) -> PodTemplateSpec {
    let ValidatedPods { settings, affinity } = program.pods(job);
    let mut annotations = settings.annotations.clone();
    annotations.insert(names::CONFIG_ANNOTATION.to_owned(), job.config_hash.clone());
    if let Some(version) = &job.ca_version {
        annotations.insert(names::CA_ANNOTATION.to_owned(), version.clone());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(&job.name, program.component())),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(job, program)],
            volumes: Some(volumes(job, config_map)),
            restart_policy: Some(if program == Program::Worker { "Always" } else { "Never" }.to_owned()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            // The programs never call Kubernetes.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            service_account_name: settings.service_account_name.clone(),
            node_selector: some(&settings.node_selector),
            tolerations: Some(settings.tolerations.clone()).filter(|list| !list.is_empty()),
            affinity: affinity.clone(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
    }
}

fn container(job: &ValidatedJob, program: Program) -> Container {
    let settings = &program.pods(job).settings;
    let (command, arguments) = program.command();
    let config = ["--config".to_owned(), format!("{CONFIG_DIRECTORY}/{}", config_map::KEY)];
    Container {
        name: program.component().as_str().to_owned(),
        image: Some(settings.image.clone().unwrap_or_else(|| job.default_image.clone())),
        image_pull_policy: settings.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        command: Some(vec![command.to_owned()]),
        args: Some(config.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()),
        env: Some(environment(job, program)),
        resources: Some(settings.resources.clone().unwrap_or_else(|| resources(job, program))),
        volume_mounts: Some(mounts(job)),
        // A program that could not write a termination message has logged its error.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn environment(job: &ValidatedJob, program: Program) -> Vec<EnvVar> {
    let settings = &program.pods(job).settings;
    let mut environment = vec![from_field("POD_NAME", "metadata.name".to_owned())];
    if program != Program::Worker {
        environment.push(from_field("JOB_NAME", format!("metadata.labels['{}']", names::JOB_NAME_LABEL)));
    }
    environment.extend(settings.env.iter().cloned());
    // The service identifies who began an upload by role and session. With one session name for all pods of the job, uploads
    // of a pod that is gone are recognized as the job's. A name that the user sets stays.
    if !environment.iter().any(|variable| variable.name == SESSION_NAME) {
        let name = Some(session_name(&job.owner.uid));
        environment.push(EnvVar { name: SESSION_NAME.to_owned(), value: name, value_from: None });
    }
    environment
}

fn from_field(name: &str, path: String) -> EnvVar {
    // The default of the API server, so that the applied object equals the stored one.
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// Returns requests and limits for users who set none. A worker holds objects up to memoryLimit, and buffers.
fn resources(job: &ValidatedJob, program: Program) -> ResourceRequirements {
    let (request, limit) = match program {
        Program::Worker => {
            let plus = |mib| ByteSize(job.memory_limit.bytes().saturating_add(ByteSize::mib(mib).bytes()));
            (plus(64), plus(256))
        }
        Program::Send
        | Program::Verify(_)
        | Program::Report
        | Program::Notify
        | Program::RemoveNotifications
        | Program::AbortUploads => (ByteSize::mib(64), ByteSize::mib(512)),
    };
    let memory = |size: ByteSize| ("memory".to_owned(), Quantity(size.to_string()));
    ResourceRequirements {
        requests: Some([("cpu".to_owned(), Quantity("100m".to_owned())), memory(request)].into()),
        limits: Some([memory(limit)].into()),
        claims: None,
    }
}

fn volumes(job: &ValidatedJob, config_map: String) -> Vec<Volume> {
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_map, ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let secrets = job.secrets.iter().map(|(side, secret)| Volume {
        name: format!("{side}-credentials"),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.clone()),
            // Readable by the pod's own group.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    let certificates = job.ca_bundles.iter().map(|(side, from)| certificates(*side, from));
    [config].into_iter().chain(secrets).chain(certificates).collect()
}

/// Builds the volume with one key as one file, so that pods do not see other keys.
fn certificates(side: Service, from: &MountedFrom) -> Volume {
    let file =
        |key: &String| Some(vec![KeyToPath { key: key.clone(), path: CA_FILE.to_owned(), ..KeyToPath::default() }]);
    let (mut config_map, mut secret) = (None, None);
    match from {
        MountedFrom::ConfigMap { name, key } => {
            config_map = Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: file(key),
                ..ConfigMapVolumeSource::default()
            });
        }
        MountedFrom::Secret { name, key } => {
            secret = Some(SecretVolumeSource {
                secret_name: Some(name.clone()),
                items: file(key),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            });
        }
    }
    Volume { name: format!("{side}-ca"), config_map, secret, ..Volume::default() }
}

fn mounts(job: &ValidatedJob) -> Vec<VolumeMount> {
    let mount = |name: String, path: String| VolumeMount {
        name,
        mount_path: path,
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let config = mount("config".to_owned(), CONFIG_DIRECTORY.to_owned());
    let secrets = job
        .secrets
        .iter()
        .map(|(side, _)| mount(format!("{side}-credentials"), format!("{CREDENTIALS_DIRECTORY}/{side}")));
    let certificates =
        job.ca_bundles.iter().map(|(side, _)| mount(format!("{side}-ca"), format!("{CA_DIRECTORY}/{side}")));
    [config].into_iter().chain(secrets).chain(certificates).collect()
}

fn some(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map.clone()).filter(|map| !map.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;
    use serde_json::{Value, json};

    fn spec(program: Program, job: &ValidatedJob) -> Value {
        serde_json::to_value(template(job, program, "photos-config".into())).unwrap()["spec"].clone()
    }

    #[test]
    fn every_program_has_the_security_settings() {
        let verify = Program::Verify(VerifyMethod::Listing);
        for program in [Program::Worker, Program::Send, verify, Program::Report, Program::AbortUploads] {
            let spec = spec(program, &validated(|_| ()));
            let context = json!({
                "runAsNonRoot": true, "runAsUser": 65_532, "runAsGroup": 65_532, "fsGroup": 65_532,
                "seccompProfile": {"type": "RuntimeDefault"}
            });
            assert_eq!(spec["securityContext"], context);
            let context = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
            });
            assert_eq!(spec["containers"][0]["securityContext"], context);
            assert_eq!(spec["automountServiceAccountToken"], false);
            assert_eq!(spec["terminationGracePeriodSeconds"], 120);
        }
    }

    #[test]
    fn programs_get_their_command_and_their_names() {
        let job = validated(|_| ());
        let container = |program| spec(program, &job)["containers"][0].clone();
        let worker = container(Program::Worker);
        assert_eq!(
            (&worker["command"], &worker["args"]),
            (&json!(["/usr/local/bin/worker"]), &json!(["--config", "/etc/s3-migration/job.yaml"]))
        );
        assert_eq!(worker["env"].as_array().unwrap().len(), 2);
        assert_eq!(worker["image"], "worker:1");
        let send = container(Program::Send);
        assert_eq!(send["args"], json!(["--config", "/etc/s3-migration/job.yaml", "send"]));
        assert_eq!(
            send["env"][1]["valueFrom"]["fieldRef"]["fieldPath"],
            "metadata.labels['batch.kubernetes.io/job-name']"
        );
        assert_eq!(container(Program::AbortUploads)["args"][2], "abort-uploads");
    }

    #[test]
    fn all_pods_of_a_job_have_one_session_name_unless_the_user_gives_another() {
        let named = |program, job: &ValidatedJob| {
            let environment = spec(program, job)["containers"][0]["env"].clone();
            let all = environment.as_array().unwrap().iter().filter(|one| one["name"] == SESSION_NAME);
            all.map(|one| one["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let job = validated(|_| ());
        for program in [Program::Worker, Program::Send, Program::AbortUploads] {
            assert_eq!(named(program, &job), ["s3-migration-u-1"]);
        }
        let longest = format!("s3-migration-{}", "01234567-89ab-cdef-0123-456789abcdef");
        assert!(longest.len() <= 64);
        let job = validated(|job| {
            job.spec.worker = serde_yaml::from_str("env: [{name: AWS_ROLE_SESSION_NAME, value: mine}]").unwrap();
        });
        assert_eq!(named(Program::Worker, &job), ["mine"]);
    }

    #[test]
    fn secrets_are_mounted_and_never_in_the_environment() {
        let spec = spec(Program::Worker, &validated(|_| ()));
        let volumes: Vec<_> =
            spec["volumes"].as_array().unwrap().iter().filter_map(|v| v["secret"]["secretName"].as_str()).collect();
        assert_eq!(volumes, ["from", "to", "queue"]);
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        assert_eq!(mounts[2]["mountPath"], "/var/run/s3-migration/credentials/destination");
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
        assert!(!spec.to_string().contains("secretKeyRef"));
    }

    #[test]
    fn memory_follows_the_limit_of_what_is_held() {
        let job = validated(|job| job.spec.transfer.memory_limit = ByteSize::mib(1024));
        let resources = spec(Program::Worker, &job)["containers"][0]["resources"].clone();
        assert_eq!(resources, json!({"requests": {"cpu": "100m", "memory": "1088Mi"}, "limits": {"memory": "1280Mi"}}));
    }

    #[test]
    fn the_users_settings_reach_the_pod_and_ours_stay() {
        let job = validated(|job| {
            job.spec.worker = serde_yaml::from_str(
                r"
image: mine:2
imagePullPolicy: Never
resources: {limits: {memory: 2Gi}}
nodeSelector: {disk: fast}
tolerations: [{key: spot, operator: Exists}]
serviceAccountName: mover
env: [{name: RUST_LOG, value: debug}]
annotations: {team: media}
",
            )
            .unwrap();
        });
        let template = serde_json::to_value(template(&job, Program::Worker, "c".into())).unwrap();
        let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
        assert_eq!((&container["image"], &container["imagePullPolicy"]), (&json!("mine:2"), &json!("Never")));
        assert_eq!(container["resources"], json!({"limits": {"memory": "2Gi"}}));
        assert_eq!(container["env"][1], json!({"name": "RUST_LOG", "value": "debug"}));
        assert_eq!(spec["nodeSelector"]["disk"], "fast");
        assert_eq!((&spec["serviceAccountName"], &spec["tolerations"][0]["key"]), (&json!("mover"), &json!("spot")));
        assert_eq!(template["metadata"]["annotations"]["team"], "media");
        assert_eq!(template["metadata"]["annotations"][names::CONFIG_ANNOTATION], job.config_hash);
    }
}
