//! Classification of SDK errors by what to do about them.
//!
//! # Failures without a response of the service
//!
//! | failure | code | class |
//! |---|---|---|
//! | credentials can't be loaded | `CredentialsNotLoaded` | side: `CredentialsMissing` |
//! | the request can't be built from its values | `InvalidRequest` | `Refused` |
//! | connection refused or broken, name not resolved | `ConnectionFailed` | `NoAnswer` |
//! | time-out | `Timeout` | `NoAnswer` |
//! | a response that can't be parsed | `InvalidResponse` | `NoAnswer` |
//! | a response that is [not the service's own](words), whatever its status | `Http…` with the status | `NoAnswer` |
//!
//! Responses of the service itself are classified by [`table`]. Where a request failed since a role could not be assumed,
//! the error is that of STS.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ServiceError as Answered;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};

pub use table::{Api, classify};
pub use words::OwnSuccess;

pub(crate) mod rejected;
pub mod table;
pub(crate) mod words;

/// Longest message, in characters; the rest is cut off.
const MESSAGE_LIMIT: usize = 1_000;

/// An error that is classified already, as cause of another: [`service_error`] returns it as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Classified(pub ServiceError);

/// Classifies an error of the SDK. `operation` is a verb and a noun, such as `put object`.
///
/// The message holds only the service's code and message, or the SDK's description of a broken connection. Requests and
/// other fields of the response stay out, since they may repeat what was signed.
pub fn service_error<E>(service: Api, operation: &str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match find::<Classified>(error) {
        Some(Classified(told)) => told.clone(),
        None => naming(service, sorted(service, operation, error)),
    }
}

/// Returns the same error with what of the request it says that the service does not take.
pub fn naming(service: Api, error: ServiceError) -> ServiceError {
    let rejected = rejected::rejected(service, &error);
    error.rejecting(rejected)
}

fn sorted<E>(service: Api, operation: &str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    use ErrorClass::{NoAnswer, Refused, Service};
    if let Some(credentials) = find::<CredentialsError>(error) {
        // The error itself says only that there are no credentials; its source says why.
        let why = credentials.source().map_or_else(|| credentials.to_string(), causes);
        let message = format!("failed to load credentials: {why}");
        return ServiceError::new(
            Service(ServiceFault::CredentialsMissing),
            operation,
            "CredentialsNotLoaded",
            shorten(&message),
        );
    }
    let (class, code) = match error {
        SdkError::ServiceError(answer) if words::is_own_error(service, answer.raw(), answer.err().code()) => {
            let mut told = answered(service, operation, answer, error.request_id());
            let elsewhere = told.class == Service(ServiceFault::WrongRegion);
            let region = answer.raw().headers().get(BUCKET_REGION).filter(|_| elsewhere);
            if let Some(region) = region.filter(|region| is_name(region) && !told.message.contains(region)) {
                told.message = format!("{} (the bucket is in {region})", told.message);
            }
            let named = answer.raw().body().bytes().and_then(named_header);
            if let Some(header) = named.filter(|header| !told.message.contains(header)) {
                told.message = format!("{} ({header})", told.message);
            }
            return told;
        }
        SdkError::ServiceError(answer) => return not_own(operation, answer.raw()),
        SdkError::ConstructionFailure(_) => (Refused, "InvalidRequest"),
        SdkError::DispatchFailure(failure) if failure.is_user() => (Refused, "InvalidRequest"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => (NoAnswer, "Timeout"),
        SdkError::DispatchFailure(_) => (NoAnswer, "ConnectionFailed"),
        SdkError::TimeoutError(_) => (NoAnswer, "Timeout"),
        _ => (NoAnswer, "InvalidResponse"),
    };
    // If the failure came before a connection was tried, the outer errors repeat the whole request; use the innermost.
    let message = match error {
        SdkError::DispatchFailure(failure) if failure.is_other() => {
            chain(error).last().map(ToString::to_string).unwrap_or_default()
        }
        error => causes(error),
    };
    let mut built = ServiceError::new(class, operation, code, shorten(&message));
    built.request_id = error.request_id().map(ToOwned::to_owned);
    built
}

/// Classifies an error of HEAD. The response has no body, so the status is used as it is, whoever sent it.
pub(crate) fn head_error<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => answered(Api::S3, operation, answer, error.request_id()),
        error => service_error(Api::S3, operation, error),
    }
}

/// Error for a response that came from something in front of the service.
fn not_own(operation: &str, answer: &HttpResponse) -> ServiceError {
    let code = format!("Http{}", answer.status().as_u16());
    ServiceError::new(ErrorClass::NoAnswer, operation, &code, shorten(&words::describe(answer)))
}

/// Returns the error for a successful response that lacks `what`, which the service always sends, if the SDK does not expose the
/// response itself.
pub fn no_answer(operation: &str, what: &str) -> ServiceError {
    let message = format!("the response is not the service's own: it has no {what}");
    ServiceError::new(ErrorClass::NoAnswer, operation, "InvalidResponse", message)
}

/// Returns the error for a response that contradicts itself or the request.
pub fn invalid_response(operation: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorClass::Transient, operation, "InvalidResponse", message)
}

/// Error for a request that can't be built from its values.
pub(crate) fn invalid_request(operation: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorClass::Refused, operation, "InvalidRequest", message)
}

fn answered<E: ProvideErrorMetadata>(
    service: Api,
    operation: &str,
    answer: &Answered<E, HttpResponse>,
    request_id: Option<&str>,
) -> ServiceError {
    let (error, status) = (answer.err(), answer.raw().status().as_u16());
    let message = error.message().unwrap_or_default();
    let class = classify(service, error.code(), status, message);
    // Responses to HEAD have no body and thus no code.
    let code = error.code().map_or_else(|| format!("Http{status}"), ToOwned::to_owned);
    let message = match message {
        "" => format!("the service responded with HTTP status {status} and no message"),
        text => shorten(public_part(&code, text)),
    };
    ServiceError {
        class,
        operation: operation.to_owned(),
        side: None,
        code,
        message,
        rejected: None,
        request_id: request_id.map(ToOwned::to_owned),
    }
}

/// The header by which S3 tells the region of a bucket. Source: `HeadBucket` in the S3 API reference.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Returns true for the name of a header or region.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Returns the header that an error document names as rejected. Source: "Error responses" in the S3 API reference;
/// `NotImplemented` names it in `Header`, `InvalidArgument` in `ArgumentName`.
fn named_header(body: &[u8]) -> Option<&str> {
    let body = std::str::from_utf8(body).ok()?;
    let member = |name: &str| {
        let rest = body.split_once(&format!("<{name}>"))?.1;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
    };
    ["Header", "ArgumentName"].into_iter().find_map(member).filter(|text| is_name(text))
}

/// Drops what must not be logged: messages about signatures continue, after an empty line, with the canonical request
/// and its session token. Source: "Troubleshoot Signature Version 4 errors", IAM User Guide.
fn public_part<'a>(code: &str, message: &'a str) -> &'a str {
    if code.contains("Signature") { message.lines().next().unwrap_or_default() } else { message }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// Iterates over an error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// Joins the messages of an error and its causes, each message once.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error).map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
#[path = "error/tests.rs"]
mod tests;
