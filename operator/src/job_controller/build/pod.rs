//! The pods of all programs: they have the same image, configuration, Secrets and security settings.

mod security;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, PodSpec, PodTemplateSpec, ResourceRequirements, SecretVolumeSource,
    SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use migration_api::config::CA_FILE;
use migration_api::logs::{LogFormat as ApiFormat, LogLevel as ApiLevel, Logs, TransferLines};
use migration_api::pods::PodSettings;
use migration_api::verify::VerifyMethod;
use migration_core::config::{MountedFrom, session_name};
use migration_core::error::Service;
use migration_core::size::ByteSize;
use migration_program::{LogFormat, LogLevel};

use super::config_map;
use crate::job_controller::validate::{CA_DIRECTORY, CREDENTIALS_DIRECTORY, ValidatedJob, ValidatedPods};
use crate::names::{self, Component};
use crate::pod_defaults::PodDefaults;

/// The directory where the configuration is mounted.
const CONFIG_DIRECTORY: &str = "/etc/s3-migration";
/// How long a program may take to end after SIGTERM, in seconds, if the settings don't say.
const GRACE_SECONDS: u32 = 120;
/// What remains of it, in seconds, when a worker gives its messages back: to do so, and to end.
const TO_END_SECONDS: u32 = 20;
/// The variable with the seconds that a worker has for the parts in flight.
const GRACE: &str = "GRACE_SECONDS";
/// The variables with the format and the level of logs, and with the form of lines about transfers.
const LOG_FORMAT: &str = "LOG_FORMAT";
const LOG_LEVEL: &str = "LOG_LEVEL";
const TRANSFER_LINES: &str = "TRANSFER_LINES";
/// The variable with the port of metrics.
const METRICS_PORT: &str = "METRICS_PORT";
/// That port, and the name by which Prometheus finds it.
const METRICS: (&str, u16) = ("metrics", 8080);

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
    /// Tries the buckets before objects are moved.
    Preflight,
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
            Self::Preflight => Component::Preflight,
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
            Self::Preflight => (JOBSENDER, &["preflight"]),
            Self::Notify => (JOBSENDER, &["notify"]),
            Self::RemoveNotifications => (JOBSENDER, &["notify", "--remove"]),
            Self::AbortUploads => (JOBSENDER, &["abort-uploads"]),
        }
    }

    /// Returns the pod settings. What acts on buckets as workers do needs their permissions, so it runs as they do.
    fn pods(self, job: &ValidatedJob) -> &ValidatedPods {
        match self {
            Self::Worker
            | Self::AbortUploads
            | Self::Report
            | Self::Preflight
            | Self::Notify
            | Self::RemoveNotifications => &job.worker,
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
    // Ours last: they select the pods.
    let mut labels = settings.labels.clone();
    labels.extend(names::labels(&job.name, program.component()));
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container(job, program)],
            volumes: Some(volumes(job, config_map).into_iter().chain(volumes::volumes(settings)).collect()),
            restart_policy: Some(if program == Program::Worker { "Always" } else { "Never" }.to_owned()),
            termination_grace_period_seconds: Some(grace(program, settings).into()),
            // The programs never call Kubernetes.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // The kernel drops a SIGTERM to process 1 of a namespace until it is handled, so that a program told to stop while
            // it starts would work on until it is killed. In the pod's namespace it is another one, which the signal ends.
            share_process_namespace: Some(true),
            service_account_name: settings.service_account_name.clone(),
            node_selector: some(&settings.node_selector),
            tolerations: Some(settings.tolerations.clone()).filter(|list| !list.is_empty()),
            affinity: affinity.clone(),
            topology_spread_constraints: spread(job, program, settings),
            priority_class_name: settings.priority_class_name.clone(),
            image_pull_secrets: pull_secrets(job, settings),
            security_context: Some(security::context(settings.security_context.as_ref(), job.pod_defaults.fixed_ids)),
            ..PodSpec::default()
        }),
    }
}

/// Returns how long a program may take to end, in seconds. All but workers end within the default.
fn grace(program: Program, settings: &PodSettings) -> u32 {
    let wanted = settings.termination_grace_period_seconds.filter(|_| program == Program::Worker);
    wanted.unwrap_or(GRACE_SECONDS)
}

/// Returns the constraints of the spread. Without a selector, Kubernetes would count no pods.
fn spread(job: &ValidatedJob, program: Program, settings: &PodSettings) -> Option<Vec<TopologySpreadConstraint>> {
    let own =
        LabelSelector { match_labels: Some(names::selector(&job.name, program.component())), match_expressions: None };
    let constraints = settings.topology_spread_constraints.iter().cloned();
    let constraints = constraints.map(|constraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.or_else(|| Some(own.clone())),
        ..constraint
    });
    Some(constraints.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

fn pull_secrets(job: &ValidatedJob, settings: &PodSettings) -> Option<Vec<LocalObjectReference>> {
    let reference = |name: &str| LocalObjectReference { name: name.to_owned() };
    let secrets: Vec<_> = if settings.image_pull_secrets.is_some() {
        settings.pull_secrets().map(reference).collect()
    } else {
        job.pod_defaults.image_pull_secrets.iter().map(|name| reference(name)).collect()
    };
    Some(secrets).filter(|secrets| !secrets.is_empty())
}

fn container(job: &ValidatedJob, program: Program) -> Container {
    let settings = &program.pods(job).settings;
    let (command, arguments) = program.command();
    let config = ["--config".to_owned(), format!("{CONFIG_DIRECTORY}/{}", config_map::KEY)];
    Container {
        name: program.component().as_str().to_owned(),
        image: Some(settings.image.clone().unwrap_or_else(|| job.pod_defaults.image.clone())),
        image_pull_policy: settings.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        command: Some(vec![command.to_owned()]),
        args: Some(config.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()),
        env: Some(environment(job, program)),
        ports: metrics_port(settings).map(|port| vec![port]),
        resources: Some(settings.resources.clone().unwrap_or_else(|| resources(job, program))),
        volume_mounts: Some(mounts(job).into_iter().chain(volumes::mounts(settings)).collect()),
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
    let mut set = |name: &str, value: String| {
        // What the user sets stays.
        if !environment.iter().any(|variable| variable.name == name) {
            environment.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
        }
    };
    // The service identifies who began an upload by role and session. With one session name for all pods of the job, uploads
    // of a pod that is gone are recognized as the job's.
    set(SESSION_NAME, session_name(&job.owner.uid));
    set(METRICS_PORT, METRICS.1.to_string());
    for (variable, value) in log_variables(job) {
        set(variable, value.to_owned());
    }
    if program == Program::Worker && settings.termination_grace_period_seconds.is_some() {
        set(GRACE, grace(program, settings).saturating_sub(TO_END_SECONDS).to_string());
    }
    environment
}

/// Returns the variables that set the log, of those that are set: by the job, else by the operator.
fn log_variables(job: &ValidatedJob) -> impl Iterator<Item = (&'static str, &'static str)> {
    let Logs { format, level, transfer_lines } = job.logs;
    let PodDefaults { log_format, log_level, .. } = &job.pod_defaults;
    let format = format.map(ApiFormat::as_variable).or_else(|| log_format.map(LogFormat::as_str));
    let level = level.map(ApiLevel::as_variable).or_else(|| log_level.map(LogLevel::as_str));
    let lines = transfer_lines.map(TransferLines::as_variable);
    let all = [(LOG_FORMAT, format), (LOG_LEVEL, level), (TRANSFER_LINES, lines)];
    all.into_iter().filter_map(|(variable, value)| Some((variable, value?)))
}

/// Returns the port of metrics, which the user may move; none if the user has none served.
fn metrics_port(settings: &PodSettings) -> Option<ContainerPort> {
    let moved = settings.env.iter().find(|variable| variable.name == METRICS_PORT);
    let moved = moved.and_then(|variable| variable.value.as_ref()?.parse::<u16>().ok());
    let port = moved.unwrap_or(METRICS.1);
    (port > 0).then(|| ContainerPort {
        name: Some(METRICS.0.to_owned()),
        container_port: port.into(),
        // The default of the API server.
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    })
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
        | Program::Preflight
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
mod tests;
