//! MD5 of a single stream, by the fastest implementation that is built in.

use migration_core::etag::Md5Digest;

/// Bytes in an MD5 block.
#[cfg(feature = "lanes")]
pub(super) const BLOCK: usize = 64;

/// Computes the MD5 of bytes that arrive in pieces.
#[cfg(feature = "lanes")]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Md5(pub(super) md5_many::Md5State);

#[cfg(feature = "lanes")]
impl Md5 {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(self) -> Md5Digest {
        self.0.finalize()
    }

    /// Returns the number of bytes in the incomplete block.
    pub(super) fn begun(self) -> usize {
        usize::try_from(self.0.bytes_hashed() % BLOCK as u64).unwrap_or_default()
    }
}

/// Returns the MD5 of these bytes.
#[cfg(feature = "lanes")]
pub(super) fn md5(bytes: &[u8]) -> Md5Digest {
    md5_many::md5(bytes)
}

/// Computes the MD5 of bytes that arrive in pieces.
#[cfg(not(feature = "lanes"))]
#[derive(Clone, Debug, Default)]
pub(super) struct Md5(md5::Md5);

#[cfg(not(feature = "lanes"))]
impl Md5 {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        md5::Digest::update(&mut self.0, bytes);
    }

    pub(super) fn value(self) -> Md5Digest {
        md5::Digest::finalize(self.0).into()
    }
}

/// Returns the MD5 of these bytes.
#[cfg(not(feature = "lanes"))]
pub(super) fn md5(bytes: &[u8]) -> Md5Digest {
    <md5::Md5 as md5::Digest>::digest(bytes).into()
}
