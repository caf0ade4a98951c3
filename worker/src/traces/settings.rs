//! The standard variables of OpenTelemetry that are not read by its SDK. Source: "OpenTelemetry Protocol Exporter" and
//! "Environment Variable Specification" in the OpenTelemetry specification.

use std::time::Duration;

use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};
use opentelemetry_sdk::trace::{OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT};

/// The only protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// Traces, on or off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// No variable names a collector, or one switches them off.
    Off,
    /// There are traces.
    On(Settings),
}

/// How spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// URL that takes spans; `None` for what the variables say.
    pub(super) url: Option<String>,
    /// Time limit of a request, and of its repetitions.
    pub(super) within: Duration,
    /// Spans that wait to be sent. Further ones are dropped.
    pub(super) most_waiting: usize,
}

/// A variable with a value that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The collector should be spoken to in another way.
    #[error("failed to read {name}: {value:?} is not spoken; use http/protobuf, usually at port 4318")]
    Protocol {
        /// Name of the variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A number is none, or 0.
    #[error("failed to read {name}: {value:?} is no number above 0")]
    Number {
        /// Name of the variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
}

impl Settings {
    /// Reads the variables. An empty one counts as absent, as the specification asks.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Switch, SettingsError> {
        let value = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, value(name)?)));
        let is_off = value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || value("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let collector = first([OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]);
        if is_off || collector.is_none() {
            return Ok(Switch::Off);
        }
        let protocol = first([OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL]);
        if let Some((name, value)) = protocol.filter(|(_, value)| value != PROTOCOL) {
            return Err(SettingsError::Protocol { name, value });
        }
        let within = match first([OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT]) {
            Some((name, value)) => Duration::from_millis(number(name, value)?),
            None => OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT,
        };
        let most_waiting = match value(OTEL_BSP_MAX_QUEUE_SIZE) {
            Some(value) => usize::try_from(number(OTEL_BSP_MAX_QUEUE_SIZE, value)?).unwrap_or(usize::MAX),
            None => OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT,
        };
        Ok(Switch::On(Self { url: None, within, most_waiting }))
    }
}

fn number(name: &'static str, value: String) -> Result<u64, SettingsError> {
    let number = value.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or(SettingsError::Number { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Switch, SettingsError> {
        Settings::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_off_without_a_collector() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, is_on) in [
            (&[][..], false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
            (&[("OTEL_TRACES_SAMPLER", "always_on")], false),
            (&[collector], true),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")], true),
            (&[collector, ("OTEL_TRACES_EXPORTER", "none")], false),
            (&[collector, ("OTEL_SDK_DISABLED", "True")], false),
            (&[collector, ("OTEL_SDK_DISABLED", "false")], true),
        ] {
            assert_eq!(matches!(read(variables), Ok(Switch::On(_))), is_on, "{variables:?}");
        }
    }

    #[test]
    fn a_variable_of_traces_counts_before_one_of_all_signals() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let settings = |within, most_waiting| Switch::On(Settings { url: None, within, most_waiting });
        let default = settings(Duration::from_secs(10), 2_048);
        assert_eq!(read(&[collector]), Ok(default.clone()));
        let given = [
            collector,
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ];
        assert_eq!(read(&given), Ok(settings(Duration::from_millis(500), 64)));
        assert_eq!(read(&[collector, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), Ok(default));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ] {
            let error = read(&[collector, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
