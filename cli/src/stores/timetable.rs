//! The timetable of a bandwidth limit, in the syntax of rclone's `--bwlimit`.
//! Source: "--bwlimit" in rclone's documentation.

use std::num::NonZeroU64;
use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};

/// Lowest limit, in bytes per second. Below it a connection of many has no bytes for so long that services close it.
const LOWEST: u64 = 1 << 10;
const MINUTES_PER_DAY: u16 = 24 * 60;

/// Bytes per second; `None` means no limit.
pub type Rate = Option<NonZeroU64>;

/// The limits of a week, each from its time until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    text: String,
    /// By their minutes; at least one.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Minute of the week in which the limit begins, from Sunday 00:00.
    minute: u16,
    rate: Rate,
}

/// A text that is no timetable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// It has no entry.
    #[error("it is empty; write a limit such as 10M, or a timetable such as '08:00,512k 23:00,off'")]
    Empty,
    /// An entry has no limit, or more than one.
    #[error(
        "{0:?} is no entry of a timetable; write HH:MM,LIMIT or DAY-HH:MM,LIMIT, as in 08:00,512k or Mon-08:00,512k"
    )]
    Entry(String),
    /// An entry has no time of the day.
    #[error("{0:?} is no time; write HH:MM from 00:00 to 23:59")]
    Time(String),
    /// An entry has no day of the week.
    #[error("{0:?} is no day of the week; write its English name or the first three letters, as in Mon")]
    Day(String),
    /// A limit is no number.
    #[error(
        "{0:?} is no limit; write a number of KiB per second, a number with one of the suffixes B, K, M, G, T (of 1024 \
         each), as in 512k or 0.5M, or off"
    )]
    Rate(String),
    /// A limit has two directions.
    #[error(
        "{0:?} has a limit for each direction, but each byte is read once and written once; write one number, the \
         lower of the two"
    )]
    Directions(String),
    /// A limit is too low.
    #[error("{0:?} is too low: services close connections that hardly move; write 1k or more")]
    Low(String),
}

impl FromStr for Timetable {
    type Err = TimetableError;

    fn from_str(text: &str) -> Result<Self, TimetableError> {
        let entries: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c == ';').filter(|entry| !entry.is_empty()).collect();
        let mut slots = Vec::new();
        match &entries[..] {
            [] => return Err(TimetableError::Empty),
            [only] if !only.contains(',') => slots.push(Slot { minute: 0, rate: rate(only)? }),
            entries => {
                for entry in entries {
                    slots.extend(entry_slots(entry)?);
                }
            }
        }
        // Stable: of two entries for one time, the later one counts.
        slots.sort_by_key(|slot| slot.minute);
        Ok(Self { text: entries.join(" "), slots })
    }
}

impl Timetable {
    /// Returns the limit at a local time. Before the first entry of a week, the last one of the week before counts.
    pub fn limit_at(&self, time: DateTime) -> Rate {
        let of_day = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let now = day_number(time.weekday()) * MINUTES_PER_DAY + of_day;
        let after = self.slots.partition_point(|slot| slot.minute <= now);
        let slot = after.checked_sub(1).map_or(self.slots.last(), |last| self.slots.get(last));
        slot.and_then(|slot| slot.rate)
    }

    /// Returns true if there is no limit at any time.
    pub fn is_off(&self) -> bool {
        self.slots.iter().all(|slot| slot.rate.is_none())
    }

    /// Returns the text that this was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns true if the limit is always the same.
    pub fn is_constant(&self) -> bool {
        self.slots.windows(2).all(|pair| pair.first().map(|slot| slot.rate) == pair.last().map(|slot| slot.rate))
    }
}

/// Reads an entry: one slot, or one per day of the week if it names no day.
fn entry_slots(entry: &str) -> Result<Vec<Slot>, TimetableError> {
    let not_one = || TimetableError::Entry(entry.to_owned());
    let (when, limit) = entry.split_once(',').ok_or_else(not_one)?;
    if limit.contains(',') {
        return Err(not_one());
    }
    let rate = rate(limit)?;
    let (days, time) = match when.split_once('-') {
        Some((day, time)) => (vec![weekday(day)?], time),
        None => ((0..7).collect(), when),
    };
    let minute = minute_of_day(time)?;
    Ok(days.into_iter().map(|day| Slot { minute: day * MINUTES_PER_DAY + minute, rate }).collect())
}

fn weekday(text: &str) -> Result<u16, TimetableError> {
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let lower = text.to_ascii_lowercase();
    let is_day = |day: &str| day == lower || day.get(..3) == Some(&lower);
    let place = DAYS.iter().position(|day| is_day(day)).and_then(|place| u16::try_from(place).ok());
    place.ok_or_else(|| TimetableError::Day(text.to_owned()))
}

fn day_number(day: Weekday) -> u16 {
    u16::from(day.to_sunday_zero_offset().unsigned_abs())
}

fn minute_of_day(text: &str) -> Result<u16, TimetableError> {
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((number(hour)?, number(minute)?)));
    match parts {
        Some((hour @ ..24, minute @ ..60)) => Ok(hour * 60 + minute),
        _ => Err(TimetableError::Time(text.to_owned())),
    }
}

/// Reads a limit. A number without a suffix is in KiB per second; 0 means no limit, as `off` does.
fn rate(text: &str) -> Result<Rate, TimetableError> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if text.contains(':') {
        return Err(TimetableError::Directions(text.to_owned()));
    }
    let end = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (number, suffix) = text.split_at(end);
    let bytes = unit(suffix).and_then(|unit| scaled(number, unit));
    match bytes.ok_or_else(|| TimetableError::Rate(text.to_owned()))? {
        1..LOWEST => Err(TimetableError::Low(text.to_owned())),
        bytes => Ok(NonZeroU64::new(bytes)),
    }
}

/// Returns the bytes that a suffix stands for, all powers of 1024: `k`, `Ki` and `KiB` are the same.
fn unit(suffix: &str) -> Option<u64> {
    let power = match suffix.to_ascii_lowercase().as_str() {
        "b" => 0,
        "" | "k" | "ki" | "kib" => 1,
        "m" | "mi" | "mib" => 2,
        "g" | "gi" | "gib" => 3,
        "t" | "ti" | "tib" => 4,
        "p" | "pi" | "pib" => 5,
        _ => return None,
    };
    Some(1 << (10 * power))
}

/// Multiplies a decimal number by a unit, and drops what is left of a byte.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    const MOST_DIGITS: usize = 12;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value: u128 = is_number.then(|| digits.parse().ok()).flatten()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    u64::try_from(value * u128::from(unit) / divisor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn limit(text: &str, time: &str) -> u64 {
        let table: Timetable = text.parse().unwrap();
        table.limit_at(time.parse().unwrap()).map_or(0, NonZeroU64::get)
    }

    #[test]
    fn one_limit_holds_at_any_time() {
        for (text, expected) in [
            ("10M", 10 * MIB),
            ("0.625M", 640 * KIB),
            ("1.5k", 1536),
            ("666", 666 * KIB),
            ("4096b", 4096),
            ("2G", 2 << 30),
            ("3Mi", 3 * MIB),
            ("3MiB", 3 * MIB),
            ("1p", 1 << 50),
            ("0", 0),
            ("off", 0),
        ] {
            assert_eq!(limit(text, "2026-11-29T04:00:00"), expected, "{text}");
            let table = text.parse::<Timetable>().unwrap();
            assert!(table.is_constant() && table.is_off() == (expected == 0));
        }
    }

    // The examples of rclone's documentation, with what it says of them.
    #[test]
    fn entries_without_a_day_hold_on_each_day() {
        let spaces = "08:00,512k 12:00,10M 13:00,512k 18:00,30M 23:00,off";
        for (time, expected) in [
            ("08:00", 512 * KIB),
            ("11:59", 512 * KIB),
            ("12:00", 10 * MIB),
            ("13:00", 512 * KIB),
            ("18:30", 30 * MIB),
            ("23:00", 0),
            ("00:00", 0),
            ("07:59", 0),
        ] {
            // A Sunday, which begins the week, and a Wednesday.
            for date in ["2026-11-29", "2026-12-02"] {
                let at = format!("{date}T{time}:30");
                assert_eq!(limit(spaces, &at), expected, "{at}");
                assert_eq!(limit(&spaces.replace(' ', ";"), &at), expected, "{at}");
            }
        }
        let table = spaces.parse::<Timetable>().unwrap();
        assert!(!table.is_constant() && !table.is_off());
    }

    #[test]
    fn entries_with_a_day_hold_until_the_next_one() {
        let table = "Mon-00:00,512 Fri-23:59,10M Sat-10:00,1M Sun-20:00,off";
        for (time, expected) in [
            ("2026-11-30T00:00", 512 * KIB),
            ("2026-12-04T23:58", 512 * KIB),
            ("2026-12-04T23:59", 10 * MIB),
            ("2026-12-05T10:00", MIB),
            // The week begins with Sunday: what held on Saturday goes on.
            ("2026-12-06T19:59", MIB),
            ("2026-12-06T20:00", 0),
            ("2026-12-06T23:59", 0),
        ] {
            assert_eq!(limit(table, time), expected, "{time}");
            assert_eq!(limit(&table.replace("Fri", "friday"), time), expected, "{time}");
        }
    }

    #[test]
    fn entries_with_and_without_a_day_are_those_of_the_whole_week() {
        let short = "Mon-00:00,512 12:00,1M Sun-20:00,off";
        let long = "Mon-00:00,512 Mon-12:00,1M Tue-12:00,1M Wed-12:00,1M Thu-12:00,1M Fri-12:00,1M Sat-12:00,1M \
                    Sun-12:00,1M Sun-20:00,off";
        let slots = |text: &str| text.parse::<Timetable>().unwrap().slots;
        assert_eq!(slots(short), slots(long));
        assert_eq!(limit("10:00,1k 10:00,2k", "2026-12-02T10:00"), 2 * KIB, "the later one of a time");
        assert_eq!(limit("23:00,2k Mon-08:00,1k", "2026-12-02T01:00"), 2 * KIB, "in any order");
    }

    #[test]
    fn what_can_not_be_meant_is_named_with_what_to_write() {
        for (text, expected) in [
            ("", "it is empty; write"),
            (" ; ", "it is empty; write"),
            ("bad", "\"bad\" is no limit; write a number"),
            ("1000X", "\"1000X\" is no limit"),
            ("-1", "is no limit"),
            ("1.2.3M", "is no limit"),
            ("M", "is no limit"),
            ("inf", "is no limit"),
            ("9999999999999", "is no limit"),
            ("666:333", "\"666:333\" has a limit for each direction"),
            ("10:20,10M:1M", "\"10M:1M\" has a limit for each direction"),
            ("100b", "\"100b\" is too low"),
            ("bad,bad", "\"bad\" is no limit"),
            ("bad bad", "\"bad\" is no entry of a timetable; write HH:MM,LIMIT"),
            ("10:20", "has a limit for each direction"),
            ("10:20,666,1", "is no entry of a timetable"),
            ("2401,666", "\"2401\" is no time; write HH:MM"),
            ("24:00,666", "\"24:00\" is no time"),
            ("10:60,666", "\"10:60\" is no time"),
            ("1:20,666", "\"1:20\" is no time"),
            ("+1:20,666", "\"+1:20\" is no time"),
            ("bad-10:20,666", "\"bad\" is no day of the week; write"),
            ("Mo-10:20,666", "\"Mo\" is no day"),
            ("Mon-bad,666", "\"bad\" is no time"),
            ("Mon-10:20,bad", "\"bad\" is no limit"),
        ] {
            let error = text.parse::<Timetable>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
