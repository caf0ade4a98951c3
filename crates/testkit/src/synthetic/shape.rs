//! Key shapes: functions from a position to a key.

use super::mixed;

/// Shape of the keys of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// Numbers without a prefix.
    Flat,
    /// Numbers under one long prefix.
    Deep,
    /// Year, month, day and hour, with equally many keys per hour.
    Dates,
    /// Hashes, evenly spread.
    Hashed,
    /// 99 % under one prefix, the rest before and after it.
    Skewed,
}

const DEEP: &str = "warehouse/production/events/region=eu-central-1/table=clicks_by_session/format=parquet/part-";
/// Days from 1970 to the first key's date, 2023-01-01.
const FIRST_DAY: u64 = 19_358;
/// Hours in three years.
const HOURS: u64 = 26_280;

impl KeyShape {
    /// Every shape.
    pub const ALL: [Self; 5] = [Self::Flat, Self::Deep, Self::Dates, Self::Hashed, Self::Skewed];

    /// Returns the key at a position, from 0, among `count`. Keys sort by position.
    pub fn key(self, count: u64, place: u64) -> String {
        match self {
            Self::Flat => format!("{place:012}"),
            Self::Deep => format!("{DEEP}{place:012}.snappy"),
            Self::Dates => {
                let an_hour = count.div_ceil(HOURS).max(1);
                let (hour, number) = (place / an_hour, place % an_hour);
                let (year, month, day) = date(FIRST_DAY + hour / 24);
                format!("logs/{year}/{month:02}/{day:02}/{:02}/{number:09}.json.gz", hour % 24)
            }
            Self::Hashed => {
                let step = u64::MAX / count.max(1);
                format!("{:016x}.bin", place * step + mixed(place) % step)
            }
            Self::Skewed => {
                let few = count.div_ceil(200);
                let head = match place {
                    _ if place < few => "archive",
                    _ if place < count - few => "data",
                    _ => "users",
                };
                format!("{head}/{place:012}")
            }
        }
    }
}

/// Returns year, month and day of a day since 1970.
/// Source: "chrono-compatible low-level date algorithms" by H. Hinnant.
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_of_their_places() {
        for shape in KeyShape::ALL {
            for count in [1, 2, 500, 1_000_000, 100_000_000] {
                let step = (count / 997).max(1);
                let near = |place| [place, place + 1];
                let places = (0..count).step_by(usize::try_from(step).unwrap()).flat_map(near).filter(|p| *p < count);
                let mut keys: Vec<String> = places.map(|place| shape.key(count, place)).collect();
                keys.dedup();
                assert!(keys.is_sorted_by(|a, b| a < b), "{shape:?} {count}");
            }
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in
            [(0, (1970, 1, 1)), (19_358, (2023, 1, 1)), (19_782, (2024, 2, 29)), (20_453, (2025, 12, 31))]
        {
            assert_eq!(date(day), expected);
        }
    }
}
