//! Certificates of a side, written to a file for the TLS library.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::ManifestError;
use crate::private_file;

/// The first line of a certificate in PEM. Source: RFC 7468, section 5.1.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Returns true if a text holds a certificate.
pub fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// Writes a text to a file that only this user can read, and makes its directory.
pub fn write(file: &Path, text: &str) -> Result<(), ManifestError> {
    write_private(file, text).map_err(|source| ManifestError::Certificates { file: file.to_owned(), source })
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    private_file::write(file, text)
}
