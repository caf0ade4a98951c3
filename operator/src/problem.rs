//! Problems of a job, as the condition Degraded reports them.

use migration_api::Reason;
use migration_core::error::{Blocked, ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::preflight::Finding;

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason of the condition Degraded.
    pub reason: Reason,
    /// The problem, and what to do about it.
    pub message: String,
}

impl Problem {
    /// Creates a problem.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Describes a service that workers or the jobsender have paused.
    pub fn blocked(blocked: &Blocked) -> Self {
        let Blocked { side, resource, fault, message, since: _ } = blocked;
        Self { reason: Reason::Service(*side, *fault), message: describe(*side, resource, message, *fault) }
    }

    /// Describes what a preflight found.
    pub fn found(finding: &Finding) -> Self {
        let Finding { side, problem, .. } = finding;
        let Some(fault) = problem.fault() else {
            return Self::new(Reason::Shortcoming(*side, *problem), format!("{side}: {finding}"));
        };
        let text = format!("{} {finding}; {}", name(*side), advice(*side, fault));
        Self::new(Reason::Service(*side, fault), text)
    }

    /// Describes an error that queue or ledger returned to the operator. Transient errors are reported as unreachable: the
    /// SDK has retried them several times by then.
    pub fn service(side: Service, resource: &str, error: &ServiceError) -> Self {
        let fault = match error.class {
            ErrorClass::Service(fault) => fault,
            ErrorClass::AccessDenied => ServiceFault::AccessDenied,
            ErrorClass::NoSuchKey => ServiceFault::NotFound,
            _ => ServiceFault::Unreachable,
        };
        Self { reason: Reason::Service(side, fault), message: describe(side, resource, &error.to_string(), fault) }
    }
}

/// Returns the message about a service. Removes the full stop and the request id of the service's own message: an id that
/// differs each time would change the status at each reconciliation.
fn describe(side: Service, resource: &str, message: &str, fault: ServiceFault) -> String {
    let message = message.rfind(" (request ").and_then(|at| message.get(..at)).unwrap_or(message);
    format!("{} {resource}: {}; {}", name(side), message.trim_end_matches('.'), advice(side, fault))
}

fn name(side: Service) -> &'static str {
    match side {
        Service::Source => "source bucket",
        Service::Destination => "destination bucket",
        Service::Queue => "queue",
        Service::Ledger => "ledger table",
    }
}

fn advice(side: Service, fault: ServiceFault) -> String {
    match fault {
        ServiceFault::CredentialsInvalid | ServiceFault::CredentialsExpired | ServiceFault::CredentialsMissing => {
            format!(
                "correct the Secret of spec.{side}.credentials or the pod's identity; the job then continues by itself"
            )
        }
        ServiceFault::AccessDenied => {
            format!("grant the principal of spec.{side} the missing permission; the job then continues by itself")
        }
        ServiceFault::NotFound => {
            "create it, or correct its name in the spec; the job then continues by itself".to_owned()
        }
        ServiceFault::WrongRegion => format!("correct spec.{side}.region or spec.{side}.endpoint"),
        ServiceFault::ClockSkewed => "synchronize the clocks of the nodes".to_owned(),
        ServiceFault::Unreachable => format!("check spec.{side}.endpoint, and the network from the cluster to it"),
        ServiceFault::Throttled => {
            "the service throttles all requests; the job continues by itself; fewer workers or fewer other clients help"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_side_names_side_bucket_error_and_what_to_do() {
        let problem = Problem::blocked(&Blocked {
            side: Service::Destination,
            resource: "photos-copy".into(),
            fault: ServiceFault::CredentialsInvalid,
            message: "failed to put object: SignatureDoesNotMatch: no. (request 7f)".into(),
            since: 0,
        });
        assert_eq!(problem.reason.to_string(), "DestinationCredentialsInvalid");
        for part in ["destination bucket photos-copy", "SignatureDoesNotMatch", "spec.destination.credentials"] {
            assert!(problem.message.contains(part), "{}", problem.message);
        }
        assert!(problem.message.contains("SignatureDoesNotMatch: no; correct"), "{}", problem.message);
    }

    #[test]
    fn an_answer_to_the_operator_keeps_its_class() {
        let reason =
            |class| Problem::service(Service::Queue, "q", &ServiceError::new(class, "x", "Y", "z")).reason.to_string();
        assert_eq!(reason(ErrorClass::Service(ServiceFault::NotFound)), "QueueNotFound");
        assert_eq!(reason(ErrorClass::AccessDenied), "QueueAccessDenied");
        assert_eq!(reason(ErrorClass::Transient), "QueueUnreachable");
    }
}
