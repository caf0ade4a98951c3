//! Selects the transfer method of an object.

use crate::config::{S3Side, TransferMode, TransferSettings};
use crate::part::MAX_PART;

/// The transfer method of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMethod {
    /// One GET and one PUT, with the body held in memory.
    SinglePut,
    /// A multipart upload whose parts stream through this worker.
    Multipart,
    /// A multipart upload distributed over many workers, each moving a range of the parts.
    Distributed,
    /// A copy by the service, in one request.
    CopyObject,
    /// A copy by the service, in parts.
    CopyParts,
}

/// Returns true if the service may copy by itself. Both sides then have to be one service, since a copy reads with the
/// permissions of the principal that requests it. Two AWS endpoints are one service only within a partition.
///
/// | mode | both sides are one service and principal | server side |
/// |---|---|---|
/// | Stream | any | no |
/// | `ServerSide` | any | yes: the user vouches for it |
/// | Auto, metadata and tags preserved | yes | yes |
/// | Auto, metadata or tags not preserved | yes | no: a copy always includes both |
/// | Auto | no | no |
pub fn is_server_side(settings: &TransferSettings, source: &S3Side, destination: &S3Side) -> bool {
    match settings.mode {
        TransferMode::Stream => false,
        TransferMode::ServerSide => true,
        TransferMode::Auto => {
            let (a, b) = (&source.service, &destination.service);
            let whole = settings.preserve.metadata && settings.preserve.tags;
            whole && a.credentials == b.credentials && a.endpoint == b.endpoint && a.region == b.region
        }
    }
}

/// Returns the transfer method of an object of `size` bytes.
///
/// | size | server side | method |
/// |---|---|---|
/// | ≤ 5 GiB | yes | `CopyObject` |
/// | more | yes | `CopyParts` |
/// | ≤ multipartThreshold | no | `SinglePut` |
/// | ≤ splitThreshold | no | Multipart |
/// | more | no | Distributed |
///
/// Source: "Copying objects" in the S3 user guide, for the 5 GiB.
pub fn method(size: u64, settings: &TransferSettings, server_side: bool) -> TransferMethod {
    if server_side {
        return if size <= MAX_PART { TransferMethod::CopyObject } else { TransferMethod::CopyParts };
    }
    if size <= settings.multipart_threshold.bytes() {
        TransferMethod::SinglePut
    } else if size <= settings.split_threshold.bytes() {
        TransferMethod::Multipart
    } else {
        TransferMethod::Distributed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credentials, Preserve, ServiceAccess};
    use crate::congestion::CongestionControl;
    use crate::part::PartSize;
    use crate::size::ByteSize;
    use proptest::prelude::*;

    fn settings(multipart: u64, split: u64) -> TransferSettings {
        TransferSettings {
            part_size: PartSize::Auto,
            multipart_threshold: ByteSize(multipart),
            split_threshold: ByteSize(split),
            files_per_worker: 1.into(),
            parts_per_file: 1,
            memory_limit: ByteSize::mib(16),
            max_attempts: 1,
            mode: TransferMode::Auto,
            compare_checksums: true,
            preserve: Preserve::default(),
            bandwidth_limit: None,
            request_limit: None,
            tcp_congestion_control: CongestionControl::default(),
        }
    }

    fn side(region: &str, endpoint: Option<&str>, credentials: Credentials) -> S3Side {
        let service = ServiceAccess { region: region.into(), endpoint: endpoint.map(str::to_owned), credentials };
        S3Side::new(service, false)
    }

    #[test]
    fn objects_are_moved_as_the_table_says() {
        let settings = settings(10, 20);
        for (size, server_side, expected) in [
            (0, false, TransferMethod::SinglePut),
            (10, false, TransferMethod::SinglePut),
            (11, false, TransferMethod::Multipart),
            (20, false, TransferMethod::Multipart),
            (21, false, TransferMethod::Distributed),
            (0, true, TransferMethod::CopyObject),
            (MAX_PART, true, TransferMethod::CopyObject),
            (MAX_PART + 1, true, TransferMethod::CopyParts),
        ] {
            assert_eq!(method(size, &settings, server_side), expected, "{size} {server_side}");
        }
    }

    #[test]
    fn the_service_copies_only_within_itself() {
        let here = side("eu-west-1", None, Credentials::Pod);
        let china = side("cn-north-1", None, Credentials::Pod);
        let other = side("eu-west-1", None, Credentials::Directory { path: "/c".into(), secret: None });
        let minio = side("eu-west-1", Some("http://minio"), Credentials::Pod);
        for (mode, destination, expected) in [
            (TransferMode::Auto, &here, true),
            (TransferMode::Auto, &china, false),
            (TransferMode::Auto, &other, false),
            (TransferMode::Auto, &minio, false),
            (TransferMode::Stream, &here, false),
            (TransferMode::ServerSide, &other, true),
        ] {
            let settings = TransferSettings { mode, ..settings(10, 20) };
            assert_eq!(is_server_side(&settings, &here, destination), expected, "{mode:?} {destination:?}");
        }
        let bare = Preserve { tags: false, ..Preserve::default() };
        assert!(!is_server_side(&TransferSettings { preserve: bare, ..settings(10, 20) }, &here, &here));
    }

    proptest! {
        #[test]
        fn larger_objects_never_take_a_smaller_method(a in any::<u64>(), b in any::<u64>(), m in 0_u64..100, s in 0_u64..100) {
            let rank = |method| match method { TransferMethod::SinglePut | TransferMethod::CopyObject => 0, TransferMethod::Multipart | TransferMethod::CopyParts => 1, TransferMethod::Distributed => 2 };
            let settings = settings(m, m + s);
            let (a, b) = (a.min(b), a.max(b));
            for server_side in [false, true] {
                prop_assert!(rank(method(a, &settings, server_side)) <= rank(method(b, &settings, server_side)));
            }
        }
    }
}
