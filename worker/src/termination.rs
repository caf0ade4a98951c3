//! The termination message, which Kubernetes stores in the pod's status.

use serde::Serialize;
use tracing::warn;

/// Path at which Kubernetes reads the message.
const PATH: &str = "/dev/termination-log";
/// Longest message in bytes; Kubernetes keeps 4,096 bytes of the file.
const LONGEST: usize = 3_000;

#[derive(Serialize)]
struct Words<'a> {
    reason: &'a str,
    message: &'a str,
}

/// Writes the message as one line of JSON. Does nothing outside a pod.
pub fn write(reason: &str, message: &str) {
    let line = line(reason, message);
    if let Err(error) = std::fs::OpenOptions::new()
        .write(true)
        .open(PATH)
        .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(%error, "failed to write {PATH}");
    }
}

fn line(reason: &str, message: &str) -> String {
    let end = (0..=message.len().min(LONGEST)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    // Serialising two strings can't fail.
    serde_json::to_string(&Words { reason, message: &message[..end] }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let line = line("X", &"é".repeat(2_000));
        assert!(line.len() < 4_096);
        let words: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(words["message"].as_str().map(str::len), Some(3_000));
    }
}
