//! Exit codes.

use std::process::ExitCode;

/// How the program ends. `docs/s3migrate.md` lists the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The program failed; nothing is lost, and the same command continues.
    Failed,
    /// The arguments or files can't be used. Also clap's code.
    Usage,
    /// The run ended, and some objects failed.
    SomeFailed,
    /// The two sides differ.
    Different,
    /// Interrupted by a signal; the same command continues.
    Interrupted,
}

impl Exit {
    /// Returns the code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::SomeFailed => 3,
            Self::Different => 4,
            Self::Interrupted => 5,
        }
    }

    /// Returns the worse of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // An interruption ends everything; a failure says more than failed objects.
        let rank = |exit: Self| match exit {
            Self::Done => 0,
            Self::Different => 1,
            Self::SomeFailed => 2,
            Self::Failed => 3,
            Self::Usage => 4,
            Self::Interrupted => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_end_counts() {
        for (first, second, expected) in [
            (Exit::Done, Exit::Done, Exit::Done),
            (Exit::Done, Exit::SomeFailed, Exit::SomeFailed),
            (Exit::SomeFailed, Exit::Different, Exit::SomeFailed),
            (Exit::Failed, Exit::SomeFailed, Exit::Failed),
            (Exit::Failed, Exit::Interrupted, Exit::Interrupted),
        ] {
            assert_eq!((first.and(second), second.and(first)), (expected, expected));
        }
    }
}
