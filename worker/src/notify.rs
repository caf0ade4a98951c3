//! `jobsender notify`: configures the source buckets to send their events to the queue.

use clap::Args;
use migration_engine::notifications::{self, NotificationError, NotificationPorts, NotificationReport};

use crate::exit::{End, FAILED, UNUSABLE};
use crate::setup::AwsProcess;

/// Arguments of `jobsender notify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct NotifyArgs {
    /// Remove the job's entries from all buckets, whatever the configuration says.
    #[arg(long)]
    remove: bool,
}

/// Runs the subcommand.
pub(crate) async fn notify(process: AwsProcess, args: &NotifyArgs) -> End {
    let ports = NotificationPorts {
        source: &process.ports.source,
        destination: &process.ports.destination,
        ledger: &process.ports.ledger,
    };
    if args.remove {
        removed(notifications::remove(&process.config, &ports).await)
    } else {
        applied(notifications::apply(&process.config, &ports).await)
    }
}

fn applied(result: Result<NotificationReport, NotificationError>) -> End {
    match result {
        Ok(report) => End { reason: "NotificationsConfigured", message: report.to_string(), code: 0 },
        Err(error) => failed("NotificationsRefused", &error),
    }
}

fn removed(result: Result<NotificationReport, NotificationError>) -> End {
    match result {
        Ok(report) if report.elsewhere.is_empty() => {
            End { reason: "NotificationsRemoved", message: report.to_string(), code: 0 }
        }
        // Another attempt has the same configuration.
        Ok(report) => End { reason: "NotificationsLeft", message: report.to_string(), code: UNUSABLE },
        Err(error) => failed("NotificationsLeft", &error),
    }
}

fn failed(reason: &'static str, error: &NotificationError) -> End {
    let code = if error.is_retryable() { FAILED } else { UNUSABLE };
    End { reason, message: error.to_string(), code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::{ErrorClass, ServiceError};
    use migration_core::records::NotifiedBucket;

    #[test]
    fn what_only_a_person_can_correct_is_not_tried_again() {
        let code = |class| applied(Err(ServiceError::new(class, "x", "Y", "z").into())).code;
        assert_eq!((code(ErrorClass::Transient), code(ErrorClass::AccessDenied)), (FAILED, UNUSABLE));
        let unversioned = NotificationError::Unversioned { side: "source", bucket: "b".into() };
        assert_eq!(applied(Err(unversioned)).code, UNUSABLE);
    }

    #[test]
    fn what_is_left_at_another_service_is_named() {
        let gone = NotifiedBucket { endpoint: Some("http://old".into()), region: "r".into(), bucket: "b".into() };
        let report = NotificationReport { elsewhere: vec![gone], ..NotificationReport::default() };
        assert_eq!(applied(Ok(report.clone())).code, 0, "it does not keep the job from its work");
        let end = removed(Ok(report));
        assert_eq!((end.reason, end.code), ("NotificationsLeft", UNUSABLE));
        assert!(end.message.contains("b in r at http://old"), "{}", end.message);
    }
}
