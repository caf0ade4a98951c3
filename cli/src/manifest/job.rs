//! `MigrationJobs` with all that a run on this machine needs of them.

use std::path::{Path, PathBuf};

use migration_api::MigrationJob;
use migration_api::config::{Mounts, QueueAndTable, ignore_patterns, job_config};
use migration_aws::{CredentialSource, StaticKeys};
use migration_core::config::{
    ACCESS_KEY_FILE, Credentials, JobConfig, JobIdentity, LedgerConfig, MountedFrom, QueueConfig, S3Side,
    SECRET_KEY_FILE, SESSION_TOKEN_FILE, ServiceAccess, ValidConfig,
};
use migration_core::error::Service;
use sha2::{Digest, Sha256};

use super::certificates;
use super::documents::Documents;
use super::error::ManifestError;
use super::not_used::not_used;
use super::object::ObjectName;
use super::secret::Values;

/// A `MigrationJob` that can run on this machine.
#[derive(Clone, Debug)]
pub struct LocalJob {
    /// The resource as it was validated, with its defaults, its namespace and its UID. The next run's previous one.
    pub job: MigrationJob,
    /// The configuration of its run. Queue and ledger have names, `local`, and no service. Its credentials say whose they
    /// are, for what is compared and recorded; the keys themselves are in `source` and `destination`.
    pub config: ValidConfig,
    /// Credentials for the source.
    pub source: CredentialSource,
    /// Credentials for the destination.
    pub destination: CredentialSource,
    /// Fields that are set and have no meaning here.
    pub not_used: Vec<&'static str>,
}

/// What the command line says of all jobs.
#[derive(Clone, Copy, Debug)]
pub struct LocalSettings<'a> {
    /// Profile of `~/.aws` to use for the source, instead of the credentials that the resource names.
    pub source_profile: Option<&'a str>,
    /// The same for the destination.
    pub destination_profile: Option<&'a str>,
    /// Directory for the certificates that resources name, in a directory per job and side.
    pub ca_directory: &'a Path,
}

/// Joins validated jobs with the Secrets and `ConfigMaps` that they name.
///
/// The credentials of a side are, first of all, the profile that the settings name; then the Secret or the anonymous
/// access that the resource names; else the usual chain of the AWS tools: environment, `~/.aws`, the machine's role.
/// Certificates are written to files.
///
/// # Errors
/// The first job that is suspended or follows events, that names what the files don't hold, or that breaks a rule of its configuration.
pub fn local_jobs(
    documents: &Documents,
    jobs: Vec<MigrationJob>,
    settings: &LocalSettings<'_>,
) -> Result<Vec<LocalJob>, ManifestError> {
    jobs.into_iter().map(|job| local_job(documents, job, settings)).collect()
}

fn local_job(
    documents: &Documents,
    job: MigrationJob,
    settings: &LocalSettings<'_>,
) -> Result<LocalJob, ManifestError> {
    let name = ObjectName {
        namespace: job.metadata.namespace.clone().unwrap_or_default(),
        name: job.metadata.name.clone().unwrap_or_default(),
    };
    if job.spec.suspend {
        return Err(ManifestError::Suspended(name.name));
    }
    if job.spec.trigger.events.enabled {
        return Err(ManifestError::Events(name.name));
    }
    let references = References { documents, job: &name };
    let mut config = config(&job, identity(&name), settings.ca_directory);
    config.ignore.extend(references.ignored(&job)?);
    let source = references.credentials(Service::Source, &mut config.source, settings.source_profile)?;
    let destination =
        references.credentials(Service::Destination, &mut config.destination, settings.destination_profile)?;
    references.write_certificates(Service::Source, &config.source)?;
    references.write_certificates(Service::Destination, &config.destination)?;
    let config = config.validate().map_err(|source| ManifestError::Config { job: name.name.clone(), source })?;
    let not_used = not_used(&job.spec);
    Ok(LocalJob { job, config, source, destination, not_used })
}

/// Returns the configuration, with names instead of a queue and a table.
fn config(job: &MigrationJob, identity: JobIdentity, ca_directory: &Path) -> JobConfig {
    let names = QueueAndTable {
        queue_url: "local:queue".to_owned(),
        dead_letter_url: "local:dead-letters".to_owned(),
        table: "local".to_owned(),
        queue_arn: None,
    };
    // Secrets are in memory: their directories identify them in the configuration, and do not exist.
    let mounts = Mounts { credentials: PathBuf::from("manifest"), ca: ca_directory.join(&identity.uid) };
    let config = job_config(&job.spec, identity, &names, &mounts);
    let here = || ServiceAccess { region: "local".to_owned(), endpoint: None, credentials: Credentials::default() };
    JobConfig {
        queue: QueueConfig { service: here(), ..config.queue },
        ledger: LedgerConfig { service: here(), ..config.ledger },
        ..config
    }
}

/// Returns the identity of a job: the UID is always the same for one namespace and name, so that a job goes on with its
/// own records. It is a UUID of version 8 with the first bits of the SHA-256 of both. Source: RFC 9562, section 5.8.
pub fn identity(name: &ObjectName) -> JobIdentity {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(Sha256::digest(name.to_string())).for_each(|(byte, of_hash)| *byte = of_hash);
    let uid = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
    JobIdentity { namespace: name.namespace.clone(), name: name.name.clone(), uid }
}

/// The objects that one job names.
struct References<'a> {
    documents: &'a Documents,
    job: &'a ObjectName,
}

impl References<'_> {
    fn error(&self, problem: String) -> ManifestError {
        ManifestError::Reference { job: self.job.name.clone(), problem }
    }

    /// Returns the values of an object in the job's namespace. `field` names it in the resource, for messages.
    fn object(&self, kind: Kind, name: &str, field: &str) -> Result<&Values, ManifestError> {
        let objects = match kind {
            Kind::Secret => &self.documents.secrets,
            Kind::ConfigMap => &self.documents.config_maps,
        };
        let namespace = &self.job.namespace;
        let wanted = ObjectName { namespace: namespace.clone(), name: name.to_owned() };
        if let Some(found) = objects.get(&wanted) {
            return Ok(&found.content);
        }
        let kind = kind.as_str();
        let elsewhere = objects.keys().find(|other| other.name == name);
        Err(self.error(match elsewhere {
            Some(other) => format!(
                "{kind} {name} of {field} is in namespace {}, and the job in {namespace}; write the same \
                 metadata.namespace in both",
                other.namespace
            ),
            None => format!("{kind} {name} of {field} is in none of the files; name the file that has it"),
        }))
    }

    fn ignored(&self, job: &MigrationJob) -> Result<Vec<String>, ManifestError> {
        let Some(from) = &job.spec.filters.ignore_from else { return Ok(Vec::new()) };
        let field = "spec.filters.ignoreFrom";
        let (name, key) = (&from.config_map_key_ref.name, &from.config_map_key_ref.key);
        let text = self.object(Kind::ConfigMap, name, field)?.text(key);
        let text = text.ok_or_else(|| self.error(format!("ConfigMap {name} of {field} has no key {key} with text")))?;
        Ok(ignore_patterns(text))
    }

    /// Returns the credentials of a side, and notes in its configuration whose they are.
    fn credentials(
        &self,
        side: Service,
        s3: &mut S3Side,
        profile: Option<&str>,
    ) -> Result<CredentialSource, ManifestError> {
        if let Some(profile) = profile {
            s3.service.credentials = Credentials::Profile { name: profile.to_owned() };
        }
        match &s3.service.credentials {
            Credentials::Directory { secret: Some(secret), .. } => {
                Ok(CredentialSource::Static(self.keys(side, secret)?))
            }
            other => Ok(other.into()),
        }
    }

    fn keys(&self, side: Service, secret: &str) -> Result<StaticKeys, ManifestError> {
        let field = format!("spec.{side}.credentials");
        let values = self.object(Kind::Secret, secret, &field).map_err(|error| match error {
            ManifestError::Reference { job, problem } => {
                ManifestError::Reference { job, problem: format!("{problem}, or use --{side}-profile") }
            }
            other => other,
        })?;
        let value = |key: &str| {
            values.trimmed(key).ok_or_else(|| {
                self.error(format!("Secret {secret} of {field} has no key {key}, or it is empty; add it"))
            })
        };
        Ok(StaticKeys {
            access_key_id: value(ACCESS_KEY_FILE)?,
            secret_access_key: value(SECRET_KEY_FILE)?,
            session_token: values.trimmed(SESSION_TOKEN_FILE),
        })
    }

    fn write_certificates(&self, side: Service, s3: &S3Side) -> Result<(), ManifestError> {
        let Some(bundle) = &s3.ca_bundle else { return Ok(()) };
        let (kind, name, key) = match &bundle.from {
            Some(MountedFrom::ConfigMap { name, key }) => (Kind::ConfigMap, name, key),
            Some(MountedFrom::Secret { name, key }) => (Kind::Secret, name, key),
            None => return Ok(()),
        };
        let field = format!("spec.{side}.caBundle");
        let text = self.object(kind, name, &field)?.text(key).filter(|text| certificates::is_pem(text));
        let text = text.ok_or_else(|| {
            let kind = kind.as_str();
            self.error(format!("{kind} {name} of {field} has no certificate in PEM under the key {key}; add it"))
        })?;
        certificates::write(&bundle.path, text)
    }
}

/// Kind of an object that a job names.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}
