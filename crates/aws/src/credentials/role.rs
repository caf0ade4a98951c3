//! Temporary credentials of a role that the pod's own identity assumes.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use migration_core::config::AssumeRole;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use tracing::warn;

use crate::error::{Api, Classified, invalid_response, no_answer, service_error};

/// Length of a session: the longest that STS grants in every case. The limit of a role is at least this, and a role that
/// is assumed by another role, such as that of a service account, has no longer one.
/// Source: `DurationSeconds` of `AssumeRole` in the STS API reference.
const SESSION: Duration = Duration::from_hours(1);
/// How long before its end a session is replaced.
const EARLY: Duration = Duration::from_mins(5);
/// How long STS has to answer while there is a session to go on with. Less than what the SDK gives a provider, 5 s or more
/// by version, after which it would fail the request that waits. Source: `load_timeout` of `LazyCacheBuilder`.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a session that could not be replaced is used before the next attempt.
const ATTEMPT_AGAIN: Duration = Duration::from_secs(30);

/// Returns the configuration with the credentials of a role. What it held before assumes it, at the STS endpoint of its
/// region, through the same network path.
pub(crate) async fn assumed(config: SdkConfig, role: &AssumeRole) -> SdkConfig {
    let mut builder = AssumeRoleProvider::builder(&role.role_arn).session_name(&role.session_name);
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    let provider = builder.session_length(SESSION).configure(&config).build().await;
    let credentials = SharedCredentialsProvider::new(RoleCredentials::new(role.role_arn.clone(), provider));
    config.into_builder().credentials_provider(credentials).build()
}

/// Sessions of a role. Each is replaced before it ends. While STS refuses, does not answer or keeps the connection open
/// without an answer, the last one is used to its end.
#[derive(Debug)]
struct RoleCredentials<P> {
    role_arn: String,
    sts: P,
    held: Mutex<Option<Credentials>>,
}

impl<P: ProvideCredentials> RoleCredentials<P> {
    fn new(role_arn: String, sts: P) -> Self {
        Self { role_arn, sts, held: Mutex::default() }
    }

    /// Returns credentials to use until the time that they carry; the SDK's identity cache asks again shortly before.
    async fn at(&self, now: impl Fn() -> SystemTime) -> Result<Credentials, CredentialsError> {
        let refused = match self.ask(now()).await.and_then(|got| self.checked(got, now())) {
            Ok((credentials, expiry)) => {
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
                return Ok(until(credentials, replace_at(expiry, now())));
            }
            Err(error) => error,
        };
        let Some(held) = self.held_at(now()) else { return Err(CredentialsError::provider_error(Classified(refused))) };
        warn!(role = self.role_arn, error = %refused, "the session of a role could not be replaced yet");
        Ok(held)
    }

    /// Asks STS for a session, for as long as the SDK allows if there is none to go on with.
    async fn ask(&self, now: SystemTime) -> Result<Credentials, ServiceError> {
        let asked = self.sts.provide_credentials();
        let answer = match self.held_at(now) {
            Some(_) => tokio::time::timeout(PATIENCE, asked).await.map_err(|_| {
                let message = "STS did not answer in time";
                ServiceError::new(ErrorClass::NoAnswer, &operation(&self.role_arn), "Timeout", message)
            })?,
            None => asked.await,
        };
        answer.map_err(|error| refusal(&self.role_arn, &error))
    }

    /// Returns the last session unless it has ended, to be used until the next attempt to replace it.
    fn held_at(&self, now: SystemTime) -> Option<Credentials> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let expiry = held.expiry().filter(|expiry| *expiry > now)?;
        Some(until(held, expiry.min(now + ATTEMPT_AGAIN)))
    }

    /// Returns a session and when it ends.
    fn checked(&self, got: Credentials, now: SystemTime) -> Result<(Credentials, SystemTime), ServiceError> {
        let operation = operation(&self.role_arn);
        match got.expiry() {
            None => Err(invalid_response(&operation, "STS gave a session without an end")),
            Some(expiry) if expiry <= now => Err(ServiceError::new(
                ErrorClass::Service(ServiceFault::ClockSkewed),
                &operation,
                "SessionExpired",
                "STS gave a session that has already ended by the clock of this machine: set the clock",
            )),
            Some(expiry) => Ok((got, expiry)),
        }
    }
}

impl<P: ProvideCredentials> ProvideCredentials for RoleCredentials<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.at(SystemTime::now))
    }
}

/// Returns when to replace a session: some minutes before its end, or after most of a short one.
fn replace_at(expiry: SystemTime, now: SystemTime) -> SystemTime {
    let left = expiry.duration_since(now).unwrap_or_default();
    expiry - EARLY.min(left / 4)
}

fn until(mut credentials: Credentials, expiry: SystemTime) -> Credentials {
    *credentials.expiry_mut() = Some(expiry);
    credentials
}

fn operation(role_arn: &str) -> String {
    format!("assume role {role_arn}")
}

/// Returns why a role could not be assumed, in the words of STS.
fn refusal(role_arn: &str, error: &CredentialsError) -> ServiceError {
    let operation = operation(role_arn);
    let Some(told) = error.source().and_then(|cause| cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>())
    else {
        return no_answer(&operation, "credentials");
    };
    let mut refused = service_error(Api::Sts, &operation, told);
    if refused.class == ErrorClass::Service(ServiceFault::AccessDenied) {
        refused.message = format!(
            "{}; sts:AssumeRole on {role_arn} has to be allowed to the identity of the pod, and by the role's trust \
             policy to this identity with this externalId",
            refused.message
        );
    }
    refused
}

#[cfg(test)]
#[path = "role/tests.rs"]
mod tests;
