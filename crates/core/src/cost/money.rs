//! Amounts of money.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Millionths in one unit of a currency.
const UNIT: u64 = 1_000_000;
/// Decimals of a millionth.
const DECIMALS: usize = 6;
/// Digits before the point that are accepted.
const DIGITS: usize = 12;

/// An amount of money of at least 0, in millionths of its currency. Written as a decimal number, or a text of one:
/// `1500`, `12.50`. Sums stay at the largest amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Money(u64);

/// Why a text is no amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read amount {0:?}: write a number with up to 12 digits and 6 decimals, such as 1500 or 12.50")]
pub struct MoneyError(String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl Money {
    /// The largest amount.
    pub const MOST: Self = Self(u64::MAX);

    /// Returns an amount given as a number of parts of a millionth, rounded up.
    pub fn from_parts(number: u128, parts: u128) -> Self {
        Self(u64::try_from(number.div_ceil(parts)).unwrap_or(u64::MAX))
    }

    /// Returns the sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the amount as a number, for metrics.
    #[allow(clippy::cast_precision_loss, reason = "exact to a millionth up to some billions")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Returns the amount for people, rounded down: with two decimals, or four below 1.
    pub fn short(self) -> String {
        let (whole, rest) = (self.0 / UNIT, self.0 % UNIT);
        if whole > 0 { format!("{whole}.{:02}", rest / 10_000) } else { format!("0.{:04}", rest / 100) }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most| {
            let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u64>().ok()).flatten()
        };
        let parsed = digits(whole, DIGITS).zip(digits(decimals, DECIMALS));
        let (whole, rest) = parsed.ok_or_else(|| MoneyError(text.to_owned()))?;
        let missing = u32::try_from(DECIMALS - decimals.len()).unwrap_or_default();
        Ok(Self(whole * UNIT + rest * 10_u64.pow(missing)))
    }
}

/// With at least two decimals, and as many as there are.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.0 % UNIT);
        write!(f, "{}.{:0<2}", self.0 / UNIT, decimals.trim_end_matches('0'))
    }
}

impl TryFrom<Written> for Money {
    type Error = MoneyError;

    fn try_from(written: Written) -> Result<Self, MoneyError> {
        match written {
            // The shortest decimal number that is this one, so `0.1` is a tenth.
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, expected, short) in [
            ("0", "0.00", "0.0000"),
            ("5", "5.00", "5.00"),
            ("12.5", "12.50", "12.50"),
            ("0.1", "0.10", "0.1000"),
            ("0.000001", "0.000001", "0.0000"),
            ("0.123456", "0.123456", "0.1234"),
            ("00012.340", "12.34", "12.34"),
            ("1.999999", "1.999999", "1.99"),
            ("999999999999.999999", "999999999999.999999", "999999999999.99"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.to_string().as_str(), money.short().as_str()), (expected, short), "{text}");
            assert_eq!(money.to_string().parse(), Ok(money));
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "1 ", "1.0000001", "1234567890123", "1.5.2", "NaN"]
        {
            let error = text.parse::<Money>().unwrap_err().to_string();
            assert!(error.contains(&format!("amount {text:?}")), "{error}");
        }
    }

    #[test]
    fn numbers_and_texts_are_the_same_amount() {
        let read = |yaml: &str| serde_yaml::from_str::<Money>(yaml);
        for (yaml, expected) in [("5", "5.00"), ("5.0", "5.00"), ("0.1", "0.10"), ("'12.50'", "12.50")] {
            assert_eq!(read(yaml).unwrap().to_string(), expected, "{yaml}");
        }
        assert!(read("-5").is_err() && read("1e30").is_err() && read(".nan").is_err() && read("[]").is_err());
        assert_eq!(serde_json::to_value("0.30".parse::<Money>().unwrap()).unwrap(), "0.30");
    }

    #[test]
    fn sums_of_parts_are_rounded_up_and_stay_in_range() {
        for (number, parts, expected) in
            [(0, 10, "0.00"), (1, 10, "0.000001"), (10, 10, "0.000001"), (11, 10, "0.000002")]
        {
            assert_eq!(Money::from_parts(number, parts).to_string(), expected);
        }
        assert_eq!(Money::from_parts(u128::MAX, 1), Money::MOST);
        assert_eq!(Money::MOST.plus(Money::MOST), Money::MOST);
    }
}
