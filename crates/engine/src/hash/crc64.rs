//! CRC-64/NVME: computing, combining, and the encoding of S3.
//!
//! Source: "Checking object integrity" in the S3 user guide. `x-amz-checksum-crc64nvme` is always of the full object,
//! so the checksum of an object follows from those of its parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest, checksum_combine, crc64_nvme};

/// Returns the CRC-64/NVME of these bytes.
pub fn of(bytes: &[u8]) -> u64 {
    crc64_nvme(bytes)
}

/// Returns the checksum of two contents in a row, from their checksums and the length of the second in bytes.
pub fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_len)
}

/// Encodes the value of `x-amz-checksum-crc64nvme`: base64 of the 8 bytes, most significant first.
pub fn to_base64(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

/// Decodes the value of `x-amz-checksum-crc64nvme`. Returns `None` for anything but base64 of 8 bytes, such as the
/// checksum of checksums (`...-N`) that some services return.
pub fn from_base64(text: &str) -> Option<u64> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Computes the checksum of bytes that arrive in pieces.
#[derive(Debug)]
pub(super) struct Crc64(Digest);

impl Crc64 {
    pub(super) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computes bit by bit, from the parameters in the NVM Express specification (reflected polynomial).
    fn bitwise(bytes: &[u8]) -> u64 {
        const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
        !bytes.iter().fold(u64::MAX, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
        })
    }

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(of(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(bitwise(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn reads_and_writes_what_s3_does() {
        assert_eq!(to_base64(0xae8b_1486_0a79_9888), "rosUhgp5mIg=");
        assert_eq!(from_base64("rosUhgp5mIg="), Some(0xae8b_1486_0a79_9888));
        assert_eq!(to_base64(0), "AAAAAAAAAAA=");
        for wrong in ["", "rosUhgp5mIg", "rosUhgp5mIg=-3", "rosUhgp5", "rosUhgp5mIgA", "?osUhgp5mIg="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn is_the_bitwise_one(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..5)) {
            let mut crc = Crc64::new();
            for piece in &pieces {
                crc.update(piece);
            }
            let whole = pieces.concat();
            prop_assert_eq!(crc.value(), bitwise(&whole));
            prop_assert_eq!(of(&whole), bitwise(&whole));
        }

        #[test]
        fn combines_in_order(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..6)) {
            let combined = parts.iter().fold(of(b""), |crc, part| combine(crc, of(part), part.len() as u64));
            prop_assert_eq!(combined, of(&parts.concat()));
        }

        #[test]
        fn survives_base64(crc in any::<u64>()) {
            prop_assert_eq!(from_base64(&to_base64(crc)), Some(crc));
        }
    }
}
