//! The user's bound on the objects that one worker moves at the same time.

use serde::{Deserialize, Serialize, Serializer};

use crate::size::Written;

/// Number of objects with which a worker begins, and below which it does not fall by itself.
const START: u32 = 16;
/// Upper bound unless the user sets one.
const MOST: u32 = 256;

/// How many objects one worker moves at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum FilesPerWorker {
    /// As many as both sides answer without queueing, from 16 to 256.
    #[default]
    Auto,
    /// The same, but at most this many, at least 1.
    AtMost(u32),
}

/// Why a value is no number of objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesPerWorkerError {
    /// A text other than `Auto`.
    #[error("failed to parse number of objects {0:?}: write Auto or a number")]
    Text(String),
    /// A number that no worker reaches.
    #[error("failed to take number of objects {0}: write Auto or a number from 1 to 256")]
    Number(u64),
}

impl FilesPerWorker {
    /// Returns the number of objects with which a worker begins.
    pub fn least(self) -> u32 {
        START.min(self.most())
    }

    /// Returns the largest number of objects.
    pub fn most(self) -> u32 {
        match self {
            Self::Auto => MOST,
            Self::AtMost(most) => most,
        }
    }

    /// Returns the largest number of objects moved in parts: their parts fill link and memory, so that more of them at
    /// once would only delay each other. A number that the user gives holds for them too.
    pub fn most_in_parts(self) -> u32 {
        match self {
            Self::Auto => START,
            Self::AtMost(most) => most,
        }
    }
}

impl From<u32> for FilesPerWorker {
    fn from(most: u32) -> Self {
        Self::AtMost(most)
    }
}

impl TryFrom<Written> for FilesPerWorker {
    type Error = FilesPerWorkerError;

    fn try_from(written: Written) -> Result<Self, FilesPerWorkerError> {
        match written {
            Written::Text(text) if text == "Auto" => Ok(Self::Auto),
            Written::Text(text) => Err(FilesPerWorkerError::Text(text)),
            Written::Bytes(number) => {
                u32::try_from(number).map(Self::AtMost).map_err(|_| FilesPerWorkerError::Number(number))
            }
        }
    }
}

impl Serialize for FilesPerWorker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("Auto"),
            Self::AtMost(most) => serializer.serialize_u32(*most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_bound_and_auto_a_text() {
        for (written, expected, least, most, in_parts) in [
            ("Auto", FilesPerWorker::Auto, 16, 256, 16),
            ("1", FilesPerWorker::AtMost(1), 1, 1, 1),
            ("16", FilesPerWorker::AtMost(16), 16, 16, 16),
            ("40", FilesPerWorker::AtMost(40), 16, 40, 40),
        ] {
            let read: FilesPerWorker = serde_yaml::from_str(written).unwrap();
            assert_eq!(read, expected);
            assert_eq!((read.least(), read.most(), read.most_in_parts()), (least, most, in_parts), "{written}");
            assert_eq!(serde_yaml::to_string(&read).unwrap().trim(), written);
        }
        for wrong in ["auto", "'16'", "-1", "1.5", "4294967296"] {
            assert!(serde_yaml::from_str::<FilesPerWorker>(wrong).is_err(), "{wrong}");
        }
    }
}
