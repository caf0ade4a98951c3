//! Checksums of rows. `SQLite` has none of its own: without them, a flipped bit in a key would be a different object.

use crc_fast::{CrcAlgorithm, Digest};

/// Returns the checksum of a ledger item: CRC-64/NVME of all its columns.
pub(crate) fn item_checksum(partition: &[u8], sort: &[u8], attributes: &str, expires_at: Option<i64>) -> i64 {
    let expires_at = expires_at.map(i64::to_be_bytes);
    checksum(&[partition, sort, attributes.as_bytes(), expires_at.as_ref().map_or(&[], |bytes| bytes.as_slice())])
}

/// Returns the checksum of a message: CRC-64/NVME of its queue, body and reason. What the queue changes itself is held
/// twice, in the table and its index, which `SQLite` compares.
pub(crate) fn message_checksum(queue: &str, body: &str, reason: Option<&str>) -> i64 {
    checksum(&[queue.as_bytes(), body.as_bytes(), reason.unwrap_or_default().as_bytes()])
}

/// Each field with its length, so that no two different rows are the same bytes. Stored in `SQLite`'s signed integers.
fn checksum(fields: &[&[u8]]) -> i64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for field in fields {
        digest.update(&(field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    digest.finalize().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_its_end_count() {
        let sums = [
            item_checksum(b"p", b"s", "{}", None),
            item_checksum(b"ps", b"", "{}", None),
            item_checksum(b"p", b"t", "{}", None),
            item_checksum(b"p", b"s", "{ }", None),
            item_checksum(b"p", b"s", "{}", Some(0)),
            item_checksum(b"p", b"s", "{}", Some(1)),
            message_checksum("q", "body", None),
            message_checksum("q", "body", Some("why")),
            message_checksum("r", "body", None),
        ];
        let different: std::collections::BTreeSet<_> = sums.iter().collect();
        assert_eq!(different.len(), sums.len());
    }
}
