//! The timetable of a limit of bytes or requests per second, in the syntax of rclone's `--bwlimit`.
//! Source: "--bwlimit" in rclone's documentation.

mod pattern;

use std::num::NonZeroU64;

pub use pattern::pattern;

/// Lowest limit, in bytes per second. Below it a connection of many has no bytes for so long that services close it.
const LOWEST: u64 = 1 << 10;
/// Highest limit, in requests per second.
const MOST_REQUESTS: u64 = 1_000_000;
const MINUTES_PER_DAY: u16 = 24 * 60;
/// Day of the week of 1970-01-01, counted from Sunday.
const FIRST_DAY: i64 = 4;
const MS_PER_MINUTE: i64 = 60 * 1_000;

/// Bytes or requests per second; `None` means no limit.
pub type Rate = Option<NonZeroU64>;

/// What a timetable limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes: a number is in KiB, or has a suffix.
    Bytes,
    /// Requests: whole numbers.
    Requests,
}

/// The limits of a week, each from its time until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    text: String,
    unit: Unit,
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
    /// A limit of requests is no number.
    #[error("{0:?} is no limit; write a whole number of requests per second up to 1000000, as in 50, or off")]
    Requests(String),
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

impl Timetable {
    /// Reads a timetable whose limits are of this unit.
    pub fn parse(text: &str, unit: Unit) -> Result<Self, TimetableError> {
        let entries: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c == ';').filter(|entry| !entry.is_empty()).collect();
        let mut slots = Vec::new();
        match &entries[..] {
            [] => return Err(TimetableError::Empty),
            [only] if !only.contains(',') => slots.push(Slot { minute: 0, rate: rate(only, unit)? }),
            entries => {
                for entry in entries {
                    slots.extend(entry_slots(entry, unit)?);
                }
            }
        }
        // Stable: of two entries for one time, the later one counts.
        slots.sort_by_key(|slot| slot.minute);
        Ok(Self { text: entries.join(" "), unit, slots })
    }

    /// Returns the limit at a local time: milliseconds since 1970-01-01T00:00 by the clock on the wall, without its
    /// offset from UTC. Before the first entry of a week, the last one of the week before counts.
    pub fn limit_at(&self, local: i64) -> Rate {
        let day = i64::from(MINUTES_PER_DAY);
        let minute = (local.div_euclid(MS_PER_MINUTE) + FIRST_DAY * day).rem_euclid(7 * day);
        let now = u16::try_from(minute).unwrap_or_default();
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

    /// Returns what it limits.
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns true if the limit is always the same.
    pub fn is_constant(&self) -> bool {
        self.slots.windows(2).all(|pair| pair.first().map(|slot| slot.rate) == pair.last().map(|slot| slot.rate))
    }
}

/// Reads an entry: one slot, or one per day of the week if it names no day.
fn entry_slots(entry: &str, unit: Unit) -> Result<Vec<Slot>, TimetableError> {
    let not_one = || TimetableError::Entry(entry.to_owned());
    let (when, limit) = entry.split_once(',').ok_or_else(not_one)?;
    if limit.contains(',') {
        return Err(not_one());
    }
    let rate = rate(limit, unit)?;
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

/// Reads a limit; 0 means none, as `off` does.
fn rate(text: &str, unit: Unit) -> Result<Rate, TimetableError> {
    match unit {
        _ if text.eq_ignore_ascii_case("off") => Ok(None),
        Unit::Bytes => bytes(text),
        Unit::Requests => requests(text),
    }
}

fn requests(text: &str) -> Result<Rate, TimetableError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse::<u64>().ok()).flatten().filter(|number| *number <= MOST_REQUESTS);
    number.map(NonZeroU64::new).ok_or_else(|| TimetableError::Requests(text.to_owned()))
}

/// Reads a limit of bytes. A number without a suffix is in KiB per second.
fn bytes(text: &str) -> Result<Rate, TimetableError> {
    if text.contains(':') {
        return Err(TimetableError::Directions(text.to_owned()));
    }
    let end = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (number, suffix) = text.split_at(end);
    let bytes = factor(suffix).and_then(|factor| scaled(number, factor));
    match bytes.ok_or_else(|| TimetableError::Rate(text.to_owned()))? {
        1..LOWEST => Err(TimetableError::Low(text.to_owned())),
        bytes => Ok(NonZeroU64::new(bytes)),
    }
}

/// Returns the bytes that a suffix stands for, all powers of 1024: `k`, `Ki` and `KiB` are the same.
fn factor(suffix: &str) -> Option<u64> {
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

    /// 2026-11-29, a Sunday, in milliseconds since 1970.
    const SUNDAY: i64 = 20_786 * 24 * 3_600 * 1_000;

    fn table(text: &str) -> Result<Timetable, TimetableError> {
        Timetable::parse(text, Unit::Bytes)
    }

    /// Returns the limit at a time of 2026-11-29, a Sunday, or of the week after it, as in `2026-12-02T08:00`.
    fn limit(text: &str, time: &str) -> u64 {
        let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
        let day = if number(5..7) == 11 { number(8..10) - 29 } else { number(8..10) + 1 };
        let local = SUNDAY + ((day * 24 + number(11..13)) * 60 + number(14..16)) * MS_PER_MINUTE + 59_999;
        table(text).unwrap().limit_at(local).map_or(0, NonZeroU64::get)
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
            let table = table(text).unwrap();
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
                let at = format!("{date}T{time}");
                assert_eq!(limit(spaces, &at), expected, "{at}");
                assert_eq!(limit(&spaces.replace(' ', ";"), &at), expected, "{at}");
            }
        }
        let table = table(spaces).unwrap();
        assert!(!table.is_constant() && !table.is_off());
    }

    #[test]
    fn entries_with_a_day_hold_until_the_next_one() {
        let week = "Mon-00:00,512 Fri-23:59,10M Sat-10:00,1M Sun-20:00,off";
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
            assert_eq!(limit(week, time), expected, "{time}");
            assert_eq!(limit(&week.replace("Fri", "friday"), time), expected, "{time}");
        }
    }

    #[test]
    fn entries_with_and_without_a_day_are_those_of_the_whole_week() {
        let short = "Mon-00:00,512 12:00,1M Sun-20:00,off";
        let long = "Mon-00:00,512 Mon-12:00,1M Tue-12:00,1M Wed-12:00,1M Thu-12:00,1M Fri-12:00,1M Sat-12:00,1M \
                    Sun-12:00,1M Sun-20:00,off";
        let slots = |text: &str| table(text).unwrap().slots;
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
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn requests_are_whole_numbers() {
        for (text, expected) in [("50", 50), ("0", 0), ("Off", 0), ("1000000", 1_000_000), ("08:00,5 09:00,off", 0)] {
            let table = Timetable::parse(text, Unit::Requests).unwrap();
            assert_eq!(table.limit_at(SUNDAY).map_or(0, NonZeroU64::get), expected, "{text}");
            assert_eq!((table.text(), table.unit()), (text, Unit::Requests));
        }
        for text in ["1.5", "1k", "-1", "+1", "1000001", "99999999999999999999", "08:00,1k", "5:5"] {
            let error = Timetable::parse(text, Unit::Requests).unwrap_err();
            let expected = if text == "08:00,1k" { "1k" } else { text };
            assert_eq!(error, TimetableError::Requests(expected.to_owned()));
        }
        let empty = Timetable::parse(" ", Unit::Requests).unwrap_err();
        assert_eq!(empty, TimetableError::Empty);
    }

    #[test]
    fn times_before_1970_have_a_day_too() {
        // 1969-12-31 was a Wednesday.
        assert_eq!(table("Wed-00:00,1k Thu-00:00,2k").unwrap().limit_at(-1).map_or(0, NonZeroU64::get), KIB);
        assert_eq!(table("Wed-00:00,1k Thu-00:00,2k").unwrap().limit_at(0).map_or(0, NonZeroU64::get), 2 * KIB);
    }
}
