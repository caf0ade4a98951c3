//! What a preflight found, and its result.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Purpose, Shortcoming, shortcoming};
use crate::error::{Service, ServiceError};
use crate::operation::Operation;

/// The longest message of a finding, in bytes.
const LONGEST_MESSAGE: usize = 600;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The service.
    pub side: Service,
    /// What is wrong.
    pub problem: Shortcoming,
    /// The request that showed it, as verb and noun: put object.
    pub operation: String,
    /// ARN of its bucket or object.
    pub resource: String,
    /// The words of the service, or what else was found.
    pub message: String,
    /// The actions of a policy that the request needs. Empty if permissions are not the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// The number of other buckets and objects for which the same was found.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the type that serde asks for")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Finding {
    /// Describes a refused request. `None` if it shows nothing of the job.
    pub fn of(
        side: Service,
        purpose: Purpose,
        operation: Operation,
        resource: String,
        error: &ServiceError,
        actions: &[&str],
    ) -> Option<Self> {
        let problem = shortcoming(error, purpose)?;
        // The id of the request would make each attempt another finding.
        let message = format!("failed to {}: {}: {}", error.operation, error.code, error.message);
        let denied = matches!(
            problem,
            Shortcoming::AccessDenied
                | Shortcoming::ListingDenied
                | Shortcoming::ObjectsDenied
                | Shortcoming::KmsDenied
                | Shortcoming::TagsDenied
                | Shortcoming::UploadLeft
        );
        let actions = actions.iter().filter(|_| denied).map(|action| (*action).to_owned()).collect();
        Some(Self::new(side, problem, operation, resource, message).needing(actions))
    }

    /// Creates a finding that needs no action.
    pub fn new(
        side: Service,
        problem: Shortcoming,
        operation: Operation,
        resource: String,
        message: impl Into<String>,
    ) -> Self {
        let message = shortened(message.into());
        Self { side, problem, operation: operation.to_string(), resource, message, actions: Vec::new(), others: 0 }
    }

    fn needing(self, actions: Vec<String>) -> Self {
        Self { actions, ..self }
    }
}

/// Says what was found, where, and which permissions the request needs.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, message, actions, others, .. } = self;
        write!(f, "{resource}: {}", message.trim_end_matches('.'))?;
        if *others > 0 {
            write!(f, " (and the same for {others} more)")?;
        }
        if !actions.is_empty() {
            write!(f, "; the request needs {}", actions.join(", "))?;
        }
        Ok(())
    }
}

/// Cuts a message between characters.
fn shortened(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The result of a preflight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What is wrong, the faults of whole sides first. Empty if nothing is.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

impl Report {
    /// Sorts findings, and makes one of those that show the same.
    pub fn of(mut all: Vec<Finding>) -> Self {
        all.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut findings: Vec<Finding> = Vec::new();
        for one in all {
            match findings.last_mut() {
                Some(last) if (last.side, last.problem, &last.operation) == (one.side, one.problem, &one.operation) => {
                    last.others += 1;
                }
                _ => findings.push(one),
            }
        }
        Self { findings }
    }

    /// Returns true if runs can't start.
    pub fn stops(&self) -> bool {
        self.findings.iter().any(|finding| finding.problem.fault().is_some())
    }

    /// Returns as many of the first findings as fit into so many bytes of JSON.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        while serde_json::to_string(&self).map_or(0, |text| text.len()) > bytes {
            self.findings.pop();
        }
        self
    }
}

/// Faults of sides come first, those of the source before others.
fn order(finding: &Finding) -> (bool, Service, Shortcoming, &str, &str) {
    let Finding { side, problem, operation, resource, .. } = finding;
    (problem.fault().is_none(), *side, *problem, operation, resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    fn error(class: ErrorClass, code: &str, message: &str) -> ServiceError {
        ServiceError::new(class, "get object", code, message)
    }

    fn finding(side: Service, problem: Shortcoming, resource: &str) -> Finding {
        Finding::new(side, problem, Operation::GetObject, resource.to_owned(), "no")
    }

    #[test]
    fn faults_come_first_and_the_same_is_said_once() {
        use Shortcoming::{NotFound, TagsDenied};
        let report = Report::of(vec![
            finding(Service::Source, TagsDenied, "b"),
            finding(Service::Destination, NotFound, "c"),
            finding(Service::Source, TagsDenied, "a"),
        ]);
        let found: Vec<_> = report.findings.iter().map(|f| (f.problem, f.resource.as_str(), f.others)).collect();
        assert_eq!(found, [(NotFound, "c", 0), (TagsDenied, "a", 1)]);
        assert!(report.stops());
        assert!(!Report::of(vec![finding(Service::Source, TagsDenied, "a")]).stops() && !Report::default().stops());
    }

    #[test]
    fn a_finding_names_resource_words_and_actions() {
        let denied = ServiceError {
            request_id: Some("R".into()),
            ..error(ErrorClass::AccessDenied, "AccessDenied", "Access Denied.")
        };
        let of = |error| {
            let arn = "arn:aws:s3:::a/k".to_owned();
            Finding::of(Service::Source, Purpose::Read, Operation::GetObject, arn, error, &["s3:GetObject"]).unwrap()
        };
        let words =
            "arn:aws:s3:::a/k: failed to get object: AccessDenied: Access Denied; the request needs s3:GetObject";
        assert_eq!(of(&denied).to_string(), words);
        let more = Finding { others: 2, ..of(&error(ErrorClass::NoAnswer, "Timeout", "late")) };
        let words = "arn:aws:s3:::a/k: failed to get object: Timeout: late (and the same for 2 more)";
        assert_eq!(more.to_string(), words, "permissions are not the cause");
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let resource = |n: u32| format!("arn:aws:s3:::{n}");
        let all: Vec<_> = [Shortcoming::NotFound, Shortcoming::TagsDenied, Shortcoming::ClockInaccurate]
            .into_iter()
            .zip(0..)
            .map(|(problem, n)| Finding {
                message: "é".repeat(300), ..finding(Service::Source, problem, &resource(n))
            })
            .collect();
        let report = Report::of(all).within(1_600);
        assert_eq!(report.findings.len(), 2);
        assert_eq!(report.findings[0].problem, Shortcoming::NotFound);
        let long = finding(Service::Source, Shortcoming::NotFound, "a");
        let long = Finding::new(long.side, long.problem, Operation::GetObject, long.resource, "é".repeat(2_000));
        assert!(long.message.len() <= LONGEST_MESSAGE + 3 && long.message.ends_with('…'));
    }
}
