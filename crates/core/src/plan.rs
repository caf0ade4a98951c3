//! By which way an object is moved.

use crate::config::{S3Side, TransferMode, TransferSettings};
use crate::part::MAX_PART;

/// By which way an object is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One GET, one PUT, held in memory between them.
    Whole,
    /// A multipart upload whose parts pass through this worker.
    Parts,
    /// A multipart upload whose parts pass through many workers, a range each.
    Ranges,
    /// The service copies it by itself.
    CopyWhole,
    /// The service copies it by itself, in parts.
    CopyParts,
}

/// Whether the service itself may carry the bytes: it has to be one service for both sides, since a copy reads with the
/// rights of who asks for it. Two AWS endpoints are one service within a partition only.
///
/// | mode | both sides one service, one principal | server side |
/// |---|---|---|
/// | Stream | any | no |
/// | `ServerSide` | any | yes: the user says so |
/// | Auto, and all is taken along | yes | yes |
/// | Auto, and metadata or tags are left behind | yes | no: a copy takes both along |
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

/// The way of an object of `size` bytes.
///
/// | size | server side | way |
/// |---|---|---|
/// | ≤ 5 GiB | yes | `CopyWhole` |
/// | more | yes | `CopyParts` |
/// | ≤ multipartThreshold | no | Whole |
/// | ≤ splitThreshold | no | Parts |
/// | more | no | Ranges |
///
/// Source: "Copying objects" in the S3 user guide, for the 5 GiB.
pub fn way(size: u64, settings: &TransferSettings, server_side: bool) -> Way {
    if server_side {
        return if size <= MAX_PART { Way::CopyWhole } else { Way::CopyParts };
    }
    if size <= settings.multipart_threshold.bytes() {
        Way::Whole
    } else if size <= settings.split_threshold.bytes() {
        Way::Parts
    } else {
        Way::Ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credentials, Preserve, ServiceAccess};
    use crate::part::PartSize;
    use crate::size::ByteSize;
    use proptest::prelude::*;

    fn settings(multipart: u64, split: u64) -> TransferSettings {
        TransferSettings {
            part_size: PartSize::Auto,
            multipart_threshold: ByteSize(multipart),
            split_threshold: ByteSize(split),
            files_per_worker: 1,
            parts_per_file: 1,
            memory_limit: ByteSize::mib(16),
            max_attempts: 1,
            mode: TransferMode::Auto,
            compare_checksums: true,
            preserve: Preserve::default(),
        }
    }

    fn side(region: &str, endpoint: Option<&str>, credentials: Credentials) -> S3Side {
        let service = ServiceAccess { region: region.into(), endpoint: endpoint.map(str::to_owned), credentials };
        S3Side::new(service, false)
    }

    #[test]
    fn goes_the_way_that_the_table_says() {
        let settings = settings(10, 20);
        for (size, server_side, expected) in [
            (0, false, Way::Whole),
            (10, false, Way::Whole),
            (11, false, Way::Parts),
            (20, false, Way::Parts),
            (21, false, Way::Ranges),
            (0, true, Way::CopyWhole),
            (MAX_PART, true, Way::CopyWhole),
            (MAX_PART + 1, true, Way::CopyParts),
        ] {
            assert_eq!(way(size, &settings, server_side), expected, "{size} {server_side}");
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
        fn larger_objects_never_go_a_smaller_way(a in any::<u64>(), b in any::<u64>(), m in 0_u64..100, s in 0_u64..100) {
            let rank = |way| match way { Way::Whole | Way::CopyWhole => 0, Way::Parts | Way::CopyParts => 1, Way::Ranges => 2 };
            let settings = settings(m, m + s);
            let (a, b) = (a.min(b), a.max(b));
            for server_side in [false, true] {
                prop_assert!(rank(way(a, &settings, server_side)) <= rank(way(b, &settings, server_side)));
            }
        }
    }
}
