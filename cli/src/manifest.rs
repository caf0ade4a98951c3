//! Manifests, as `kubectl apply` takes them, without a cluster.
//!
//! [`load`] reads the files, [`validate`] answers what an API server with our resource would answer, and [`local_jobs`]
//! joins each `MigrationJob` with the Secrets and `ConfigMaps` that it names to what a run on this machine needs.

mod admission;
mod certificates;
mod documents;
mod error;
mod job;
mod not_used;
mod object;
mod schema;
mod secret;
mod structure;
mod violation;

pub use documents::{Documents, Skipped, load};
pub use error::{ManifestError, Refusal};
pub use job::{LocalJob, LocalSettings, identity, local_jobs};
pub use object::{ObjectName, Place};
pub use violation::Violation;

use migration_api::MigrationJob;

use admission::Admission;

/// Validates all `MigrationJobs` as an API server does, and returns them with the defaults of the schema.
///
/// Checked are the schema of the resource, fields that it does not have, and its CEL rules. A resource that `previous`
/// contains by namespace and name counts as an edit of that one: some fields can't change. Unlike an API server's, the
/// answer to an edit names mistakes in fields that did not change, too.
///
/// # Errors
/// [`ManifestError::NoJob`] if the files have no `MigrationJob`, and [`ManifestError::Refused`] with all that is wrong
/// with any of them.
pub fn validate(documents: &Documents, previous: &[MigrationJob]) -> Result<Vec<MigrationJob>, ManifestError> {
    if documents.jobs.is_empty() {
        return Err(ManifestError::NoJob);
    }
    let admission = Admission::new()?;
    let (mut jobs, mut refusals) = (Vec::new(), Vec::new());
    for document in &documents.jobs {
        let identity = identity(&document.name);
        let old = previous.iter().find(|job| {
            job.metadata.namespace.as_ref() == Some(&identity.namespace)
                && job.metadata.name.as_ref() == Some(&identity.name)
        });
        match admission.admit(&document.object, old) {
            Ok(mut job) => {
                job.metadata.namespace = Some(identity.namespace);
                job.metadata.uid = Some(identity.uid);
                jobs.push(job);
            }
            Err(violations) => {
                refusals.push(Refusal { place: document.place.clone(), job: identity.name, violations });
            }
        }
    }
    if refusals.is_empty() { Ok(jobs) } else { Err(ManifestError::Refused(refusals)) }
}
