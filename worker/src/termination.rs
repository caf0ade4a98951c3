//! The termination message, which Kubernetes stores in the pod's status.

use migration_core::preflight::{Finding, Report};
use serde::Serialize;
use tracing::warn;

/// Path at which Kubernetes reads the message.
const PATH: &str = "/dev/termination-log";
/// Longest message in bytes; Kubernetes keeps 4,096 bytes of the file.
const LONGEST: usize = 3_000;
/// Longest message beside findings, in bytes, and the longest findings as JSON.
const BESIDE_FINDINGS: usize = 300;
const LONGEST_FINDINGS: usize = 3_400;

#[derive(Serialize)]
struct Words<'a> {
    reason: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    findings: &'a [Finding],
}

/// Writes the message as one line of JSON. Does nothing outside a pod.
pub fn write(reason: &str, message: &str) {
    write_report(reason, message, &Report::default());
}

/// Writes the message as one line of JSON, with what a preflight found. Does nothing outside a pod.
pub fn write_report(reason: &str, message: &str, report: &Report) {
    let line = line(reason, message, report);
    if let Err(error) = std::fs::OpenOptions::new()
        .write(true)
        .open(PATH)
        .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(%error, "failed to write {PATH}");
    }
}

fn line(reason: &str, message: &str, report: &Report) -> String {
    let report = report.clone().within(LONGEST_FINDINGS);
    let longest = if report.findings.is_empty() { LONGEST } else { BESIDE_FINDINGS };
    let end = (0..=message.len().min(longest)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    let words = Words { reason, message: &message[..end], findings: &report.findings };
    // Serialising strings can't fail.
    serde_json::to_string(&words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::Service;
    use migration_core::operation::Operation;
    use migration_core::preflight::Shortcoming;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let line = line("X", &"é".repeat(2_000), &Report::default());
        assert!(line.len() < 4_096);
        let words: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(words["message"].as_str().map(str::len), Some(3_000));
    }

    #[test]
    fn findings_fit_and_are_read_back() {
        let finding = |n: u32| {
            let message = format!("{n}: {}", "é".repeat(300));
            Finding::new(Service::Source, Shortcoming::ObjectsDenied, Operation::GetObject, "arn".into(), message)
        };
        let report = Report { findings: (0..50).map(finding).collect() };
        let line = line("X", &"é".repeat(2_000), &report);
        assert!((3_000..4_096).contains(&line.len()), "{}", line.len());
        let read: Report = serde_json::from_str(&line).unwrap();
        assert!(read.findings.len() >= 4 && report.findings.starts_with(&read.findings), "{}", read.findings.len());
    }
}
