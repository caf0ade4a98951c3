use super::*;

#[test]
fn a_verification_shows_in_phase_condition_and_numbers() {
    let ended = view(record(true, Some(RunResult::Complete)), 4);
    let found = |missing| VerificationRecord {
        at: 90_000,
        method: migration_core::verification::VerifyMethod::Read,
        found: Verification { proven: 3, missing, extra: 7, ..Verification::default() },
    };
    for (state, phase, condition) in [
        (FollowupState::None, Phase::Complete, None),
        (FollowupState::Due, Phase::Verifying, Some("Verified=False Verifying")),
        (FollowupState::Running, Phase::Verifying, Some("Verified=False Verifying")),
        (FollowupState::Failed("why".into()), Phase::Complete, Some("Verified=False VerifyFailed")),
        (FollowupState::Ended(found(0)), Phase::Complete, Some("Verified=True CopyWhole")),
        (FollowupState::Ended(found(1)), Phase::PartiallyFailed, Some("Verified=False CopyDiffers")),
    ] {
        let input = StatusInput { verification: &state, ..input(Some(&ended), &[]) };
        let status = compute(&MigrationJobStatus::default(), &input);
        assert_eq!(status.phase, Some(phase), "{state:?}");
        let line = conditions_of(&status).into_iter().find(|line| line.starts_with("Verified="));
        assert_eq!(line.as_deref(), condition, "{state:?}");
        let numbers = status.verification.as_ref().map(|numbers| (numbers.proven, numbers.extra));
        assert_eq!(numbers, matches!(state, FollowupState::Ended(_)).then_some((3, 7)), "{state:?}");
        // A ledger that does not answer takes nothing back.
        let silent = compute(&status, &StatusInput { ledger: None, verification: &FollowupState::None, ..input });
        let kept = conditions_of(&silent).into_iter().find(|line| line.starts_with("Verified="));
        assert_eq!(kept.as_deref(), condition, "{state:?}");
    }
}

#[test]
fn a_report_shows_in_condition_and_place_until_the_next_one_is_written() {
    let ended = view(record(true, Some(RunResult::Complete)), 4);
    let written = |unreported| ReportRecord {
        at: 90_000,
        bucket: "r".into(),
        key: "p/manifest.json".into(),
        succeeded: 4,
        failed: 0,
        unreported,
    };
    for (state, condition) in [
        (FollowupState::None, None),
        (FollowupState::Due, Some("Reported=False ReportBeingWritten")),
        (FollowupState::Running, Some("Reported=False ReportBeingWritten")),
        (FollowupState::Failed("why".into()), Some("Reported=False ReportFailed")),
        (FollowupState::Ended(written(0)), Some("Reported=True ReportWritten")),
        (FollowupState::Ended(written(2)), Some("Reported=False ReportIncomplete")),
    ] {
        let input = StatusInput { report: &state, ..input(Some(&ended), &[]) };
        let status = compute(&MigrationJobStatus::default(), &input);
        assert_eq!(status.phase, Some(Phase::Complete), "{state:?}");
        let line = conditions_of(&status).into_iter().find(|line| line.starts_with("Reported="));
        assert_eq!(line.as_deref(), condition, "{state:?}");
        let place = status.report.as_ref().map(|report| report.manifest.as_str());
        assert_eq!(place, matches!(state, FollowupState::Ended(_)).then_some("s3://r/p/manifest.json"), "{state:?}");
        // While the next run is live it is the last one that there is.
        let begun = view(record(false, None), 0);
        let next = compute(&status, &StatusInput { ledger: Some(&begun), report: &FollowupState::None, ..input });
        assert_eq!(next.report, status.report, "{state:?}");
    }
}
