//! Byte sizes as written in Kubernetes resources.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes, written as a number, or as a text with an optional suffix: `1073741824`, `16Mi`, `1.5Gi`, `1G`.
///
/// The suffixes are those of Kubernetes quantities: `k`, `M`, `G`, `T`, `P`, `E` are powers of 1000, and `Ki`, `Mi`,
/// `Gi`, `Ti`, `Pi`, `Ei` powers of 1024. A number with a suffix may have up to three decimals; what is left of a byte
/// is rounded up, as by Kubernetes. Other forms of quantities are rejected: exponents (`1e3`), thousandths (`100m`) and
/// signs, which nobody writes for bytes on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct ByteSize(pub u64);

/// Why a value is not a valid [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It has another form.
    #[error(
        "failed to read size {0:?}: write a number of bytes, or a number with one of the suffixes k, M, G, T, P, E or Ki, \
         Mi, Gi, Ti, Pi, Ei, such as 16Mi or 1.5Gi"
    )]
    Form(String),
    /// It is larger than 2^64 bytes.
    #[error("failed to read size {0:?}: it is too large; write at most 15Ei")]
    TooLarge(String),
}

const BINARY: [(&str, u64); 6] =
    [("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
const DECIMAL: [(&str, u64); 6] = [
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl ByteSize {
    /// Creates a size of `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let units = BINARY.iter().chain(&DECIMAL);
        let suffixed = units.into_iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, Some(*unit))));
        let (number, unit) = suffixed.unwrap_or((text, None));
        let form = || SizeError::Form(text.to_owned());
        let thousandths = match number.split_once('.') {
            // Of a byte there are no fractions.
            Some(_) if unit.is_none() => return Err(form()),
            Some((whole, decimals)) if (1..=3).contains(&decimals.len()) => {
                digits(whole).zip(digits(&format!("{decimals:0<3}"))).map(|(whole, decimals)| whole * 1000 + decimals)
            }
            Some(_) => None,
            None => digits(number).map(|whole| whole * 1000),
        };
        let bytes = thousandths.ok_or_else(form)?.checked_mul(u128::from(unit.unwrap_or(1)));
        let bytes = bytes.and_then(|thousandths| u64::try_from(thousandths.div_ceil(1000)).ok());
        bytes.map(Self).ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

/// Returns the number of a text of 1 to 20 digits.
fn digits(text: &str) -> Option<u128> {
    let plain = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A size as it is written: a number of bytes, or a text.
pub(crate) enum Written {
    /// A number of bytes.
    Bytes(u64),
    /// A text.
    Text(String),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a text such as 16Mi")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Written, E> {
                Ok(Written::Bytes(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Written, E> {
                u64::try_from(bytes)
                    .map(Written::Bytes)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }

            // API servers accept `5.0` as an integer. Whole numbers are displayed without a point.
            fn visit_f64<E: de::Error>(self, bytes: f64) -> Result<Written, E> {
                let whole = bytes.to_string().parse().map(Written::Bytes);
                whole.map_err(|_| E::invalid_value(de::Unexpected::Float(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

impl TryFrom<Written> for ByteSize {
    type Error = SizeError;

    fn try_from(written: Written) -> Result<Self, SizeError> {
        match written {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteSize {
    /// Formats the shortest exact form with a binary suffix, which parses back to the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Formats a number of bytes for people, rounded: `1.2 GiB`.
pub fn human(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    let mut name = NAMES[0];
    for next in &NAMES[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = next;
    }
    if name == "B" { format!("{bytes} B") } else { format!("{value:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_kubernetes_users_write() {
        for (text, bytes) in [
            ("0", 0),
            ("5242880", 5 << 20),
            ("16Mi", 16 << 20),
            ("5Gi", 5 << 30),
            ("1Ki", 1024),
            ("1Pi", 1 << 50),
            ("15Ei", 15 << 60),
            ("1.5Gi", 3 << 29),
            ("0.5Mi", 1 << 19),
            ("1.25k", 1250),
            ("1k", 1_000),
            ("1G", 1_000_000_000),
            ("16M", 16_000_000),
            ("1.234T", 1_234_000_000_000),
            ("18E", 18_000_000_000_000_000_000),
            // Rounded up to whole bytes.
            ("1.3Ki", 1332),
            ("0.001Ki", 2),
            ("18446744073709551615", u64::MAX),
            ("00016Mi", 16 << 20),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in [
            "",
            "Mi",
            "1.5",
            "-1",
            "+1",
            "-1Gi",
            "16 Mi",
            " 16Mi",
            "16Mi ",
            "16MiB",
            "16MB",
            "16mi",
            "16K",
            "1e3",
            "1E3",
            "1e3Mi",
            "100m",
            "100u",
            "100n",
            ".5Gi",
            "5.Gi",
            "1.2345Gi",
            "1..5Gi",
            "1,5Gi",
            "1_000",
            "0x10",
            "Auto",
            "١Mi",
            "123456789012345678901",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(SizeError::Form(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_too_large() {
        for text in
            ["16Ei", "99999999999999999999", "17179869184Ti", "18446744073709551616", "18446744073709551615Ei", "18.5E"]
        {
            assert_eq!(text.parse::<ByteSize>(), Err(SizeError::TooLarge(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn numbers_and_texts_mean_the_same() {
        for json in ["1073741824", "\"1073741824\"", "\"1Gi\"", "\"1.0Gi\""] {
            assert_eq!(serde_json::from_str::<ByteSize>(json).unwrap(), ByteSize::mib(1024), "{json}");
            assert_eq!(serde_yaml::from_str::<ByteSize>(json).unwrap(), ByteSize::mib(1024), "{json}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("5.0e12").unwrap(), ByteSize(5_000_000_000_000));
        for json in ["-1", "1.5", "-5.0", "1e30", "true", "null", "[]", "\"-1\""] {
            assert!(serde_json::from_str::<ByteSize>(json).is_err(), "{json}");
        }
        let text = serde_json::from_str::<ByteSize>("-1").unwrap_err().to_string();
        assert!(text.contains("expected a number of bytes, or a text such as 16Mi"), "{text}");
    }

    #[test]
    fn shows_sizes_to_people() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(u64::MAX), "16384.0 PiB");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(n in any::<u64>()) {
            prop_assert_eq!(ByteSize(n).to_string().parse(), Ok(ByteSize(n)));
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_written_equally(text in "[0-9]{0,21}(\\.[0-9]{0,4})?[kKMGTPEimu]{0,3}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
