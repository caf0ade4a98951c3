//! Opens the ledger of a job for reading, under the same rules as a reconciliation does.

use kube::ResourceExt;
use migration_api::MigrationJob;
use migration_core::error::{Service, ServiceError};
use migration_sqs_dynamodb::DynamoLedger;

use crate::job_controller::allowed;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::services::{ServicesSpec, existing_ledger};
use crate::job_controller::dereference::{labels, secrets};
use crate::job_controller::kubernetes::RequestError;
use crate::problem::Problem;

/// Why a ledger can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its Secret or its label could not be read.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
    /// The operator's policy refuses it.
    #[error("{0}")]
    Refused(String),
    /// Its Secret is missing or incomplete.
    #[error("the Secret of queue or ledger can't be used")]
    Secret,
    /// There is no table.
    #[error("the ledger's table does not exist")]
    NoTable,
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A ledger that exists.
pub struct ReadableLedger {
    /// The ledger.
    pub ledger: DynamoLedger,
    spec: ServicesSpec,
}

impl ReadableLedger {
    /// Returns an error as it may be shown to who may read the job.
    pub fn shown(&self, error: ServiceError) -> ServiceError {
        self.spec.shown(Service::Ledger, error)
    }
}

/// Returns the ledger of a job. Creates nothing.
pub async fn open(job: &MigrationJob, context: &Context) -> Result<ReadableLedger, LedgerError> {
    if let Some(problem) = refused_services(job, context).await? {
        return Err(LedgerError::Refused(problem.message));
    }
    let secrets = secrets::read(&context.api(&job.namespace().unwrap_or_default()), &job.spec).await?;
    let spec = ServicesSpec::of(job, &secrets).ok_or(LedgerError::Secret)?;
    let found = existing_ledger(&spec, &context.clients).await;
    let ledger = found.map_err(|error| spec.shown(Service::Ledger, error))?.ok_or(LedgerError::NoTable)?;
    Ok(ReadableLedger { ledger, spec })
}

/// Returns what the operator's policy refuses of queue and ledger.
pub async fn refused_services(job: &MigrationJob, context: &Context) -> Result<Option<Problem>, RequestError> {
    let of_services = ["spec.queue.credentials", "spec.ledger.credentials"];
    let references = allowed::references(&job.spec);
    let references = references.into_iter().filter(|found| of_services.contains(&found.field.as_str()));
    let unlabelled = labels::unlabelled(context, &job.namespace().unwrap_or_default(), references).await?;
    Ok(allowed::of_services(&job.spec, &context.policy).into_iter().chain(unlabelled).next())
}
