//! The fields of a schedule, in the grammar of Kubernetes, which is that of the Go library robfig/cron: its parser of
//! standard schedules. The days of both kinds are combined otherwise there than in the usual cron: a field restricts
//! them unless one of its items is a star without a step.

/// A kind of field, with its bounds and names.
struct Kind {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names of the values from `least` on; none if there are only numbers.
    names: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind { name: "minute", least: 0, most: 59, names: &[] },
    Kind { name: "hour", least: 0, most: 23, names: &[] },
    Kind { name: "day of the month", least: 1, most: 31, names: &[] },
    Kind {
        name: "month",
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Kind { name: "day of the week", least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Returns five fields that mean the same in the usual cron, of stars and numbers only. Fails with what is wrong, and
/// what to write.
pub(super) fn normalized(schedule: &str) -> Result<String, String> {
    let schedule = match schedule {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != KINDS.len() {
        let number = fields.len();
        return Err(format!(
            "it has {number} fields; write five fields: minute, hour, day of the month, month and day of the week, as \
             in '0 3 * * *', or one of @hourly, @daily, @weekly, @monthly, @yearly"
        ));
    }
    let fields: Result<Vec<String>, String> = KINDS.iter().zip(fields).map(|(kind, text)| kind.field(text)).collect();
    Ok(fields?.join(" "))
}

impl Kind {
    fn field(&self, text: &str) -> Result<String, String> {
        let mut values = Vec::new();
        let mut is_any = false;
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let Item { first, last, step, is_star } = self.item(item)?;
            is_any |= is_star && step == 1;
            values.extend((first..=last).step_by(step));
        }
        if is_any {
            return Ok("*".to_owned());
        }
        if values.is_empty() {
            return Err(format!("{} {text:?} has no value; write * for any", self.name));
        }
        values.sort_unstable();
        values.dedup();
        Ok(values.iter().map(u8::to_string).collect::<Vec<_>>().join(","))
    }

    fn item(&self, text: &str) -> Result<Item, String> {
        let form = || format!("{} {text:?} is no value; write one such as *, 5, 1-5, */2 or 1-5/2", self.name);
        let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
        let step = match step {
            None => None,
            Some(step) if step.contains('/') => return Err(form()),
            Some(step) => Some(step.parse::<usize>().ok().filter(|step| *step > 0).ok_or_else(|| {
                format!("the step of {} {text:?} is no number from 1 on; write one such as */2", self.name)
            })?),
        };
        let (begin, end) = range.split_once('-').map_or((range, None), |(begin, end)| (begin, Some(end)));
        if end.is_some_and(|end| end.contains('-')) {
            return Err(form());
        }
        let is_star = matches!(begin, "*" | "?");
        if is_star {
            return Ok(Item { first: self.least, last: self.most, step: step.unwrap_or(1), is_star });
        }
        let first = self.value(begin)?;
        let last = match (end, step) {
            (Some(end), _) => self.value(end)?,
            // `5/15` means `5-59/15`.
            (None, Some(_)) => self.most,
            (None, None) => first,
        };
        if first > last {
            return Err(format!("{} {text:?} begins after its end; write the lower one first", self.name));
        }
        Ok(Item { first, last, step: step.unwrap_or(1), is_star })
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let Self { name, least, most, names } = self;
        let lower = text.to_ascii_lowercase();
        if let Some(place) = names.iter().position(|name| *name == lower) {
            return Ok(least + u8::try_from(place).unwrap_or_default());
        }
        let number: u64 = text.parse().map_err(|_| {
            let or = names.first().map(|first| format!(" or a name such as {first}")).unwrap_or_default();
            format!("{name} {text:?} is no number; write one from {least} to {most}{or}")
        })?;
        let value = u8::try_from(number).ok().filter(|value| (least..=most).contains(&value));
        value.ok_or_else(|| format!("{name} {text} is not from {least} to {most}"))
    }
}

/// The values of an item: from the first to the last, each `step`-th.
struct Item {
    first: u8,
    last: u8,
    step: usize,
    is_star: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_numbers_and_stars() {
        for (schedule, expected) in [
            ("* * * * *", "* * * * *"),
            ("? ?/1 *-9 ? ?", "* * * * *"),
            ("5,3,3 1-3 31 jan-MAR Sun,sat", "3,5 1,2,3 31 1,2,3 0,6"),
            ("*/20 20/2 */10 10/1 5/1", "0,20,40 20,22 1,11,21,31 10,11,12 5,6"),
            ("10,* 1 1 1 1", "* 1 1 1 1"),
            ("0/99 1-5/99 1 1 1", "0 1 1 1 1"),
            (" 0  3 * * * ", "0 3 * * *"),
            ("@weekly", "0 0 * * 0"),
        ] {
            assert_eq!(normalized(schedule).as_deref(), Ok(expected), "{schedule}");
        }
    }
}
