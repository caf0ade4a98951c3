//! `jobsender preflight`: tries the requests of a job on its buckets before objects are moved.

use migration_core::preflight::Report;
use migration_engine::preflight;

use crate::exit::{End, FAILED};
use crate::setup::AwsProcess;

/// Runs the subcommand. What concerns objects only is no failure.
pub(crate) async fn preflight(process: AwsProcess) -> (End, Report) {
    let report = preflight::check(&process).await;
    (end_of(&report), report)
}

fn end_of(report: &Report) -> End {
    let message = report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; also: ");
    match (report.stops(), report.findings.is_empty()) {
        (true, _) => End { reason: "PreflightFailed", message, code: FAILED },
        (false, false) => End { reason: "PreflightWarned", message, code: 0 },
        (false, true) => End { reason: "PreflightPassed", message: "everything that was tried works".into(), code: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::Service;
    use migration_core::operation::Operation;
    use migration_core::preflight::{Finding, Shortcoming};

    #[test]
    fn only_a_fault_of_a_side_is_a_failure() {
        let finding = |problem| Finding::new(Service::Source, problem, Operation::ListObjects, "arn".into(), "no");
        let end = |findings| end_of(&Report { findings });
        assert_eq!(end(vec![]).reason, "PreflightPassed");
        let warned = end(vec![finding(Shortcoming::TagsDenied)]);
        assert_eq!((warned.reason, warned.code), ("PreflightWarned", 0));
        let failed = end(vec![finding(Shortcoming::NotFound), finding(Shortcoming::TagsDenied)]);
        assert_eq!(
            (failed.reason, failed.code, failed.message.as_str()),
            ("PreflightFailed", FAILED, "arn: no; also: arn: no")
        );
    }
}
