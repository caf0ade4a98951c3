//! Writes the documents to files and standard output.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::convert::Documents;
use super::error::ImportError;

/// Mode of files that hold secrets.
const OWNER_ONLY: u32 = 0o600;
/// Mode of other files, before the process's mask.
const ANYONE: u32 = 0o666;

/// Writes the documents to `output`, and the Secret among them unless it has a file of its own. `-` is `out`.
pub fn write(
    documents: &Documents,
    output: &Path,
    secrets: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), ImportError> {
    if secrets == Some(output) {
        return Err(ImportError::OneFile(output.to_owned()));
    }
    let Documents { resources, secret } = documents;
    let (main, apart) = match (secrets, secret) {
        (None, Some(secret)) => (format!("{secret}---\n{resources}"), None),
        (Some(path), Some(secret)) => (resources.clone(), Some((path, secret))),
        (_, None) => (resources.clone(), None),
    };
    if let Some((path, secret)) = apart {
        to(path, secret, OWNER_ONLY, out)?;
    }
    let holds_secret = secret.is_some() && apart.is_none();
    to(output, &main, if holds_secret { OWNER_ONLY } else { ANYONE }, out)
}

fn to(path: &Path, text: &str, mode: u32, out: &mut dyn Write) -> Result<(), ImportError> {
    let written = if path == Path::new("-") { out.write_all(text.as_bytes()) } else { to_file(path, text, mode) };
    written.map_err(|source| ImportError::Write { path: path.to_owned(), source })
}

/// Writes a file. One that exists gets the mode before it gets secrets.
fn to_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    if mode == OWNER_ONLY {
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    }
    file.write_all(text.as_bytes())
}
