//! Results of a suite.

use std::fmt;

use migration_core::error::ServiceError;
use migration_core::ports::WriteError;

/// Reason why a case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

/// Result of a case.
pub type CaseResult = Result<(), Failure>;

impl Failure {
    /// Creates a failure; the message names what was found and what was expected.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self(format!("unexpected error of class {:?}: {error}", error.class))
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Service(error) => error.into(),
            WriteError::Condition(_) => Self("unexpected refusal: a condition does not hold".into()),
        }
    }
}

/// A case that a service is known to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Name of the case.
    pub case: &'static str,
    /// Behaviour of the service that breaks the rule.
    pub because: &'static str,
}

/// Outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule is kept.
    Passed,
    /// The rule is broken, as declared.
    Deviates(String),
    /// The rule is broken, or is kept although declared broken.
    Failed(String),
}

/// Outcomes of all cases of a suite.
#[derive(Debug)]
pub struct Report {
    suite: &'static str,
    deviations: Vec<Deviation>,
    outcomes: Vec<(&'static str, Outcome)>,
}

impl Report {
    pub(super) fn new(suite: &'static str, deviations: &[Deviation]) -> Self {
        Self { suite, deviations: deviations.to_vec(), outcomes: Vec::new() }
    }

    pub(super) fn add(&mut self, case: &'static str, result: CaseResult) {
        let declared = self.deviations.iter().find(|deviation| deviation.case == case);
        let outcome = match (result, declared) {
            (Ok(()), None) => Outcome::Passed,
            (Ok(()), Some(_)) => Outcome::Failed("declared as a deviation, but the rule is kept: remove it".into()),
            (Err(failure), None) => Outcome::Failed(failure.to_string()),
            (Err(failure), Some(declared)) => Outcome::Deviates(format!("{}: {failure}", declared.because)),
        };
        self.outcomes.push((case, outcome));
    }

    /// Returns every case with its outcome, in the order in which they ran.
    pub fn outcomes(&self) -> &[(&'static str, Outcome)] {
        &self.outcomes
    }

    /// Returns true if cases ran, none failed, and every deviation names one of them.
    pub fn passed(&self) -> bool {
        !self.outcomes.is_empty()
            && self.unknown_deviations().next().is_none()
            && !self.outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    }

    fn unknown_deviations(&self) -> impl Iterator<Item = &Deviation> {
        self.deviations.iter().filter(|deviation| !self.outcomes.iter().any(|(case, _)| *case == deviation.case))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "suite {}: {} cases", self.suite, self.outcomes.len())?;
        for (case, outcome) in &self.outcomes {
            match outcome {
                Outcome::Passed => writeln!(f, "  passed   {case}")?,
                Outcome::Deviates(what) => writeln!(f, "  deviates {case}: {what}")?,
                Outcome::Failed(what) => writeln!(f, "  FAILED   {case}: {what}")?,
            }
        }
        for deviation in self.unknown_deviations() {
            writeln!(f, "  FAILED   {}: declared as a deviation, but there is no such case", deviation.case)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVIATION: Deviation = Deviation { case: "a", because: "it is a toy" };

    #[test]
    fn a_deviation_passes_only_where_the_rule_is_broken() {
        for (result, deviations, passes) in [
            (Ok(()), vec![], true),
            (Err(Failure::new("x")), vec![], false),
            (Err(Failure::new("x")), vec![DEVIATION], true),
            (Ok(()), vec![DEVIATION], false),
        ] {
            let mut report = Report::new("s", &deviations);
            report.add("a", result);
            assert_eq!(report.passed(), passes, "{report}");
        }
    }

    #[test]
    fn a_report_without_cases_or_with_a_deviation_of_none_of_them_fails() {
        assert!(!Report::new("s", &[]).passed());
        let mut report = Report::new("s", &[DEVIATION]);
        report.add("b", Ok(()));
        assert!(!report.passed());
        assert!(report.to_string().contains("no such case"));
    }
}
