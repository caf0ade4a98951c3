//! Errors of the store in S3's words.

use hyper::StatusCode;
use migration_core::error::{ErrorClass, ServiceError};
use s3s::{S3Error, S3ErrorCode};

/// Returns the error document for an error of the store.
pub(crate) fn s3_error(error: &ServiceError) -> S3Error {
    let mut told = S3Error::with_message(code(&error.code), error.message.clone());
    if told.status_code().is_none() {
        told.set_status_code(status(error));
    }
    told
}

/// Returns the error document with this code and message.
pub(crate) fn refused(name: &str, message: impl Into<String>) -> S3Error {
    s3_error(&ServiceError::new(ErrorClass::Refused, "answer request", name, message))
}

fn code(name: &str) -> S3ErrorCode {
    match name.parse() {
        Ok(code) => code,
        Err(never) => match never {},
    }
}

/// Returns the status of an error whose code the library does not know.
fn status(error: &ServiceError) -> StatusCode {
    match (error.code.as_str(), error.class) {
        ("InvalidPartNumber", _) => StatusCode::RANGE_NOT_SATISFIABLE,
        (_, ErrorClass::NoSuchKey | ErrorClass::NoSuchUpload) => StatusCode::NOT_FOUND,
        (_, ErrorClass::PreconditionFailed) => StatusCode::PRECONDITION_FAILED,
        (_, ErrorClass::Throttled) => StatusCode::SERVICE_UNAVAILABLE,
        (_, ErrorClass::Refused) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_status_that_s3_gives_them() {
        for (code, class, expected) in [
            ("NoSuchKey", ErrorClass::NoSuchKey, 404),
            ("NoSuchBucket", ErrorClass::Refused, 404),
            ("MethodNotAllowed", ErrorClass::NoSuchKey, 405),
            ("PreconditionFailed", ErrorClass::PreconditionFailed, 412),
            ("InvalidRange", ErrorClass::Refused, 416),
            ("InvalidPartNumber", ErrorClass::Refused, 416),
            ("InvalidObjectState", ErrorClass::Archived, 403),
            ("NotImplemented", ErrorClass::Refused, 501),
            ("SlowDown", ErrorClass::Throttled, 503),
            ("BadDigest", ErrorClass::Transient, 400),
            ("MetadataTooLarge", ErrorClass::Refused, 400),
            ("InternalError", ErrorClass::Transient, 500),
            ("OfNobody", ErrorClass::Refused, 400),
        ] {
            let told = s3_error(&ServiceError::new(class, "put object", code, "m"));
            assert_eq!(told.status_code().map(|status| status.as_u16()), Some(expected), "{code}");
            assert_eq!((told.code().as_str(), told.message()), (code, Some("m")));
        }
    }
}
