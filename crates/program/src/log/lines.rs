//! Finishes the lines of a log: what the task works on, and no character that could change a terminal or end a line.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use migration_core::printable::{is_hidden, printable, printable_json};
use migration_engine::log_context::{self, Field};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;

/// How lines are finished.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub format: LogFormat,
    /// The job of the process, which a task's own replaces.
    pub job: Option<String>,
    /// The level is called `WARNING` instead of `WARN`, as the predecessor's filters expect.
    pub has_warning: bool,
}

impl Lines {
    /// Finishes the lines of a format.
    pub(super) fn of<F>(self, inner: F) -> Finished<F> {
        Finished { lines: self, inner }
    }

    /// Finishes a line without its line feed.
    fn finish(&self, line: &str, level: Level, fields: &[(&'static str, Field)]) -> String {
        let line = self.with_level(line, level);
        match self.format {
            LogFormat::Text => {
                let mut text = line.into_owned();
                for (name, value) in fields {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " {name}={}", in_text(value));
                }
                printable(&text).into_owned()
            }
            LogFormat::Json => {
                let mut document = line.strip_suffix('}').unwrap_or(&line).to_owned();
                for (name, value) in fields {
                    let _ = write!(document, ",\"{name}\":{}", in_json(value));
                }
                document.push('}');
                printable_json(&document).into_owned()
            }
        }
    }

    /// Nothing that others determine stands before the level.
    fn with_level<'a>(&self, line: &'a str, level: Level) -> Cow<'a, str> {
        match self.format {
            _ if !self.has_warning || level != Level::WARN => Cow::Borrowed(line),
            LogFormat::Text => Cow::Owned(line.replacen(" WARN ", " WARNING ", 1)),
            LogFormat::Json => Cow::Owned(line.replacen("\"level\":\"WARN\"", "\"level\":\"WARNING\"", 1)),
        }
    }
}

fn in_text(value: &Field) -> String {
    match value {
        Field::Number(number) => number.to_string(),
        Field::Text(text) => {
            let is_quoted = text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"' || is_hidden(c));
            if is_quoted { format!("{text:?}") } else { text.clone() }
        }
    }
}

fn in_json(value: &Field) -> String {
    match value {
        Field::Number(number) => number.to_string(),
        Field::Text(text) => serde_json::Value::String(text.clone()).to_string(),
    }
}

/// Returns the service's ID of the request that failed, as the text of an error of a service ends. IDs of services have
/// these characters only.
fn request_of(line: &str) -> Option<&str> {
    let (id, _) = line.rsplit_once(" (request ")?.1.split_once(')')?;
    let is_id =
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_.-".contains(&b));
    is_id.then_some(id)
}

/// A format whose lines are finished.
pub(super) struct Finished<F> {
    lines: Lines,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Finished<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let own = log_context::current().map(|scope| scope.fields()).unwrap_or_default();
        let job = self.lines.job.clone().filter(|_| own.iter().all(|(name, _)| *name != "job"));
        let job = job.map(|job| ("job", Field::Text(job)));
        let request = request_of(line).map(|id| ("request", Field::Text(id.to_owned())));
        let fields: Vec<_> = job.into_iter().chain(own).chain(request).collect();
        writeln!(writer, "{}", self.lines.finish(line, *event.metadata().level(), &fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\nb\u{202e}\u{9b}\" c";

    fn lines(format: LogFormat, has_warning: bool) -> Lines {
        Lines { format, job: None, has_warning }
    }

    #[test]
    fn fields_follow_the_text_of_a_line() {
        let text = lines(LogFormat::Text, false);
        let fields = [
            ("object", Field::Text(HOSTILE.into())),
            ("run", Field::Text("r-1".into())),
            ("attempt", Field::Number(2)),
        ];
        let line = text.finish("t  WARN x: failed\nforged", Level::WARN, &fields);
        assert_eq!(
            line,
            "t  WARN x: failed\\nforged object=\"a\\u{1b}[31m\\nb\\u{202e}\\u{9b}\\\" c\" run=r-1 attempt=2"
        );
    }

    #[test]
    fn fields_are_members_of_a_json_line() {
        let json = lines(LogFormat::Json, true);
        let fields = [("object", Field::Text(HOSTILE.into())), ("attempt", Field::Number(2))];
        let line = json.finish("{\"timestamp\":\"t\",\"level\":\"WARN\",\"x\":\"WARN \u{7f}\"}", Level::WARN, &fields);
        assert!(!line.contains(is_hidden), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "timestamp": "t", "level": "WARNING", "x": "WARN \u{7f}", "object": HOSTILE, "attempt": 2
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn the_request_of_an_error_is_a_field() {
        use migration_core::error::{ErrorClass, ServiceError};
        let mut error = ServiceError::new(ErrorClass::Refused, "put object", "InvalidArgument", "no");
        assert_eq!(request_of(&format!("t WARN x: failed error={error} bucket=b")), None);
        error.request_id = Some("4C3F/aB+=".into());
        assert_eq!(request_of(&format!("t WARN x: failed error={error} bucket=b")), Some("4C3F/aB+="));
        error.request_id = Some("a b".into());
        assert_eq!(request_of(&error.to_string()), None);
    }

    #[test]
    fn warnings_have_the_predecessors_name_only_where_its_filters_look() {
        for (has_warning, level, expected) in
            [(true, Level::WARN, "t WARNING x: a WARN b"), (false, Level::WARN, "t WARN x: a WARN b")]
        {
            assert_eq!(lines(LogFormat::Text, has_warning).finish("t WARN x: a WARN b", level, &[]), expected);
        }
        assert_eq!(lines(LogFormat::Text, true).finish("t INFO x: a WARN b", Level::INFO, &[]), "t INFO x: a WARN b");
    }
}
