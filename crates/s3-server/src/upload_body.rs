//! Bodies of uploads: their length, and the digests that they have to match.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use hyper::HeaderMap;
use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::etag::Md5Digest;
use migration_core::ports::{Checksum, Operation};
use migration_local::store::{Incoming, Received};
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::{S3Request, S3Result, TrailingHeaders};

use crate::attributes::{add, text};
use crate::error::refused;

/// Header, and trailer, of the checksum that the store computes itself.
const CRC64NVME: &str = "x-amz-checksum-crc64nvme";
/// Headers, and trailers, of checksums.
const CHECKSUMS: [&str; 5] =
    [CRC64NVME, "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-sha1", "x-amz-checksum-sha256"];

/// Encodes a checksum as in headers: base64 of its big-endian bytes.
pub(crate) fn encode(checksum: Checksum) -> String {
    STANDARD.encode(checksum.0.to_be_bytes())
}

/// Decodes a checksum; `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<Checksum> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(Checksum(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// The body of a request to upload something.
pub(crate) struct UploadBody {
    /// The body for the store.
    pub(crate) incoming: Incoming,
    /// True if a CRC-64/NVME comes with it.
    pub(crate) has_crc64nvme: bool,
    /// Headers with the checksums that were sent and hold, once the body was received.
    pub(crate) verified: Arc<Mutex<HeaderMap>>,
}

/// Digests that a body has to match.
struct Expected {
    md5: Option<Md5Digest>,
    /// Names of checksums, with the values that came in headers; the others come in the trailer.
    checksums: Vec<(&'static str, Option<String>)>,
}

impl Expected {
    fn of(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = match text(headers, "content-md5")? {
            None => None,
            Some(encoded) => {
                let digest = STANDARD.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
                let invalid = || refused("InvalidDigest", "the Content-MD5 you specified is not valid");
                Some(digest.ok_or_else(invalid)?)
            }
        };
        let trailer = text(headers, "x-amz-trailer")?.unwrap_or_default();
        let mut checksums = Vec::new();
        for name in CHECKSUMS {
            let value = text(headers, name)?.map(ToOwned::to_owned);
            if value.is_some() || trailer.split(',').any(|trailed| trailed.trim().eq_ignore_ascii_case(name)) {
                checksums.push((name, value));
            }
        }
        Ok(Self { md5, checksums })
    }

    /// Returns the hashers of the checksums that the store does not compute.
    fn hasher(&self) -> ChecksumHasher {
        let wants = |name: &str| self.checksums.iter().any(|(wanted, _)| *wanted == name);
        ChecksumHasher {
            crc32: wants("x-amz-checksum-crc32").then(Default::default),
            crc32c: wants("x-amz-checksum-crc32c").then(Default::default),
            sha1: wants("x-amz-checksum-sha1").then(Default::default),
            sha256: wants("x-amz-checksum-sha256").then(Default::default),
            crc64nvme: None,
        }
    }

    /// Checks what was received, and returns the headers of the checksums.
    fn check(
        self,
        operation: Operation,
        received: &Received,
        hasher: ChecksumHasher,
        trailers: Option<&HeaderMap>,
    ) -> Result<HeaderMap, ServiceError> {
        if self.md5.is_some_and(|md5| md5 != received.md5) {
            return Err(bad_digest(operation, "Content-MD5"));
        }
        let computed = hasher.finalize();
        let mut headers = HeaderMap::new();
        for (name, value) in self.checksums {
            let found = match name {
                CRC64NVME => Some(encode(received.checksum)),
                "x-amz-checksum-crc32" => computed.checksum_crc32.clone(),
                "x-amz-checksum-crc32c" => computed.checksum_crc32c.clone(),
                "x-amz-checksum-sha1" => computed.checksum_sha1.clone(),
                _ => computed.checksum_sha256.clone(),
            };
            let trailed = || trailers.and_then(|trailers| trailers.get(name)?.to_str().ok()).map(ToOwned::to_owned);
            let Some(expected) = value.or_else(trailed) else {
                let message = format!("the trailer {name} was announced and did not come");
                return Err(ServiceError::new(
                    ErrorClass::Refused,
                    operation.as_str(),
                    "MalformedTrailerError",
                    message,
                ));
            };
            if found.as_deref() != Some(&expected) {
                return Err(bad_digest(operation, name));
            }
            add(&mut headers, name, &expected);
        }
        Ok(headers)
    }
}

fn bad_digest(operation: Operation, name: &str) -> ServiceError {
    let message = format!("the {name} you specified did not match what we received");
    ServiceError::new(ErrorClass::Transient, operation.as_str(), "BadDigest", message).rejecting(Rejected::Digest)
}

impl UploadBody {
    /// Takes the body of a request, with what its headers say of it.
    pub(crate) fn of<T>(
        operation: Operation,
        request: &S3Request<T>,
        body: Option<StreamingBlob>,
        len: Option<i64>,
    ) -> S3Result<Self> {
        let headers = &request.headers;
        let missing = || refused("MissingContentLength", "you must provide the Content-Length HTTP header");
        let len = len.and_then(|len| u64::try_from(len).ok()).ok_or_else(missing)?;
        let framed = text(headers, "x-amz-content-sha256")?.is_some_and(|kind| kind.starts_with("STREAMING-"));
        let expected = Expected::of(headers)?;
        let has_crc64nvme = expected.checksums.iter().any(|(name, _)| *name == CRC64NVME);
        let hasher = Arc::new(Mutex::new(expected.hasher()));
        let verified: Arc<Mutex<HeaderMap>> = Arc::default();
        let (hashing, told) = (hasher.clone(), verified.clone());
        let trailing: Option<TrailingHeaders> = request.trailing_headers.clone();
        let check = Box::new(move |received: &Received| {
            let hasher = std::mem::take(&mut *hasher.lock().unwrap_or_else(PoisonError::into_inner));
            let trailers = trailing.and_then(|trailing| trailing.take());
            let headers = expected.check(operation, received, hasher, trailers.as_ref())?;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = headers;
            Ok(())
        });
        let stream = futures::stream::iter(body).flatten().map(move |piece| match piece {
            Ok(piece) => {
                hashing.lock().unwrap_or_else(PoisonError::into_inner).update(&piece);
                Ok(piece)
            }
            Err(error) => {
                let class = ErrorClass::Transient;
                Err(ServiceError::new(class, operation.as_str(), "IncompleteBody", error.to_string()))
            }
        });
        let incoming = Incoming::Streamed { stream: stream.boxed(), len, framed, check };
        Ok(Self { incoming, has_crc64nvme, verified })
    }
}

/// Takes the headers of the checksums that hold.
pub(crate) fn verified(headers: &Mutex<HeaderMap>) -> HeaderMap {
    std::mem::take(&mut *headers.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            add(&mut headers, name, value);
        }
        headers
    }

    /// Checks the body `123456789` against headers and trailers.
    fn check(head: &[(&'static str, &str)], trailers: &[(&'static str, &str)]) -> Result<usize, String> {
        let body = Bytes::from_static(b"123456789");
        let expected = Expected::of(&headers(head)).map_err(|error| error.code().as_str().to_owned())?;
        let mut hasher = expected.hasher();
        hasher.update(&body);
        let checked = expected.check(Operation::PutPart, &body.into(), hasher, Some(&headers(trailers)));
        checked.map(|verified| verified.len()).map_err(|error| error.code)
    }

    #[test]
    fn what_comes_in_headers_and_trailers_has_to_match() {
        // Sources: check values of the catalogue of parametrised CRC algorithms; `openssl dgst` of "123456789".
        let right = [
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ];
        for (name, value) in right {
            assert_eq!(check(&[(name, value)], &[]), Ok(1), "{name}");
            assert_eq!(check(&[("x-amz-trailer", name)], &[(name, value)]), Ok(1), "{name}");
            let wrong = if name == "x-amz-checksum-crc32" { "AAAAAA==" } else { "y/Q5Jg==" };
            assert_eq!(check(&[(name, wrong)], &[]), Err("BadDigest".into()), "{name}");
            assert_eq!(check(&[("x-amz-trailer", name)], &[(name, wrong)]), Err("BadDigest".into()), "{name}");
            assert_eq!(check(&[("x-amz-trailer", name)], &[]), Err("MalformedTrailerError".into()), "{name}");
        }
        assert_eq!(check(&right, &[]), Ok(5));
        assert_eq!(check(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")], &[]), Ok(0));
        assert_eq!(check(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], &[]), Err("BadDigest".into()));
        assert_eq!(check(&[("content-md5", "AAAA")], &[]), Err("InvalidDigest".into()));
    }
}
