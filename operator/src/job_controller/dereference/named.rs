//! The objects that a specification names.

use kube::ResourceExt;
use migration_api::MigrationJob;

use super::ca_bundles::{self, CaBundles};
use super::ignore_patterns;
use super::labels;
use super::secrets::{self, Secrets};
use crate::job_controller::allowed;
use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::RequestError;
use crate::problem::Problem;

/// The objects that a specification names, as they were read. Nobody watches them.
pub struct Named {
    /// The Secrets with credentials.
    pub secrets: Secrets,
    /// The ignore list of `filters.ignoreFrom`.
    pub ignore_patterns: Result<Vec<String>, Problem>,
    /// What the operator's policy refuses: then nothing of this is used.
    pub refusals: Vec<Problem>,
    /// The certificates.
    pub ca_bundles: Result<CaBundles, Vec<Problem>>,
}

impl Named {
    /// Reads them.
    pub async fn read(job: &MigrationJob, context: &Context) -> Result<Self, RequestError> {
        let namespace = job.namespace().unwrap_or_default();
        let mut refusals = allowed::refusals(job, &context.policy);
        refusals.extend(labels::unlabelled(context, &namespace, allowed::references(&job.spec)).await?);
        Ok(Self {
            refusals,
            secrets: secrets::read(&context.api(&namespace), &job.spec).await?,
            ignore_patterns: ignore_patterns::read(&context.api(&namespace), &job.spec.filters).await?,
            ca_bundles: ca_bundles::read(context, &namespace, &job.spec).await?,
        })
    }

    /// Returns what is missing or cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let certificates = self.ca_bundles.as_ref().err().into_iter().flatten();
        let missing = self.secrets.problems.iter().chain(self.ignore_patterns.as_ref().err()).chain(certificates);
        self.refusals.iter().chain(missing).cloned().collect()
    }

    /// Returns true if both are the same.
    pub fn is(&self, other: &Self) -> bool {
        self.secrets.digests == other.secrets.digests
            && self.ignore_patterns == other.ignore_patterns
            && self.ca_bundles == other.ca_bundles
            && self.refusals == other.refusals
    }
}
