//! The regular expressions by which the resource's schema refuses what is no timetable.

use super::Unit;

const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]";
const DAY: &str = "(sun(day)?|mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|sat(urday)?)-";
/// 1,024 bytes and more; numbers without a suffix are in KiB.
const BYTES: &str = "off|0{1,12}|(102[4-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-9][0-9]{4,11})b\
    |[1-9][0-9]{0,8}([.][0-9]{1,3})?(k(ib?)?)?\
    |([1-9][0-9]{0,5}([.][0-9]{1,3})?|0[.][0-9]{0,2}[1-9][0-9]{0,2})[mgt](ib?)?";
const REQUESTS: &str = "off|[0-9]{1,6}|1000000";

/// Returns a regular expression, without backslashes and quotes, that only timetables of this unit match: all that people
/// write, but none of more than 999999T.
pub fn pattern(unit: Unit) -> String {
    let (rate, entry) = parts(unit);
    format!("^[ ;]*({rate}[ ;]*|({entry}([ ;]+|$))+)$")
}

/// Returns an expression that matches in upper and lower case. Not by a flag, which would take in letters of other
/// alphabets.
fn in_both_cases(expression: &str) -> String {
    let mut is_class = false;
    let both = |letter: char| {
        is_class = (is_class || letter == '[') && letter != ']';
        match (letter.is_ascii_lowercase(), is_class) {
            (false, _) => letter.to_string(),
            (true, true) => format!("{letter}{}", letter.to_ascii_uppercase()),
            (true, false) => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        }
    };
    expression.chars().map(both).collect()
}

/// Returns the expressions of a limit and of an entry with its time.
fn parts(unit: Unit) -> (String, String) {
    let rate = match unit {
        Unit::Bytes => BYTES,
        Unit::Requests => REQUESTS,
    };
    let rate = in_both_cases(rate);
    (format!("({rate})"), format!("({})?{TIME},({rate})", in_both_cases(DAY)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use regex::Regex;

    use super::*;
    use crate::timetable::Timetable;

    #[test]
    fn what_people_write_matches() {
        let regex = |unit| Regex::new(&pattern(unit)).unwrap();
        for text in [
            "10M",
            "0.625M",
            "1.5k",
            "666",
            "4096b",
            "1024B",
            "2G",
            "3Mi",
            "3MiB",
            "999999T",
            "0",
            "off",
            "OFF",
            "0.001M",
            "08:00,512k 12:00,10M 13:00,512k 18:00,30M 23:00,off",
            "08:00,512k;23:00,off ",
            " Mon-00:00,512 FRIDAY-23:59,1g",
        ] {
            assert!(regex(Unit::Bytes).is_match(text), "{text}");
        }
        for text in ["50", "0", "1000000", "off", "08:00,5 Sat-00:00,off", "Sunday-23:59,0"] {
            assert!(regex(Unit::Requests).is_match(text), "{text}");
        }
        for text in [
            "",
            " ; ",
            "bad",
            "1000X",
            "-1",
            "1.2.3M",
            "M",
            "1023b",
            "0.5k",
            "0.0M",
            "666:333",
            "10:20,10M:1M",
            "10:20",
            "bad bad",
            "10:20,666,1",
            "2401,666",
            "24:00,666",
            "10:60,666",
            "1:20,666",
            "Mo-10:20,666",
            "10M 20M",
        ] {
            assert!(!regex(Unit::Bytes).is_match(text), "{text:?}");
        }
        for text in ["", "1.5", "1k", "-1", "1000001", "08:00,1k", "5 6"] {
            assert!(!regex(Unit::Requests).is_match(text), "{text:?}");
        }
    }

    fn matching() -> impl Strategy<Value = (Unit, String)> {
        let texts = |unit| {
            let (rate, entry) = parts(unit);
            let text = format!("[ ;]{{0,2}}({rate}|{entry}([ ;]{{1,2}}{entry}){{0,3}})[ ;]{{0,2}}");
            string_regex(&text).unwrap().prop_map(move |text| (unit, text))
        };
        prop_oneof![texts(Unit::Bytes), texts(Unit::Requests)]
    }

    proptest! {
        #[test]
        fn what_matches_is_a_timetable((unit, text) in matching()) {
            prop_assert!(Regex::new(&pattern(unit)).unwrap().is_match(&text), "{text:?}");
            prop_assert!(Timetable::parse(&text, unit).is_ok(), "{text:?}: {:?}", Timetable::parse(&text, unit));
        }
    }
}
