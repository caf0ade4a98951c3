//! What programs need to export metrics: how each is described and written, and the answer of `/metrics`.

use std::fmt;

use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap};
use migration_engine::telemetry::HistogramReading;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::http::{self, Answer};

/// The beginning of all names.
pub const PREFIX: &str = "s3migration";
/// The labels of a metric that has none of its own.
pub const NO_LABELS: [(&str, &str); 0] = [];
/// The media type of `OpenMetrics`. Source: its specification.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric. Its full name has the prefix, the unit, and `_total` if it is a counter.
#[derive(Debug)]
pub struct Metric {
    /// The name between prefix and unit.
    pub name: &'static str,
    /// The unit, if it has one.
    pub unit: Option<Unit>,
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    /// Describes a metric without a unit.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: None, help }
    }

    /// Describes a metric in bytes.
    pub const fn bytes(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(Unit::Bytes), help }
    }

    /// Describes a metric in seconds.
    pub const fn seconds(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(Unit::Seconds), help }
    }

    /// Writes a counter for each set of labels.
    pub fn counters<S: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (S, u64)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Counter)?;
        for (labels, number) in samples {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
        }
        Ok(())
    }

    /// Writes a gauge for each set of labels.
    pub fn gauges<S: EncodeLabelSet, V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (S, V)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a histogram for each set of labels.
    pub fn histograms<S: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (S, HistogramReading)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Histogram)?;
        for (labels, HistogramReading { sum, count, buckets }) in samples {
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// A format of metrics as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics`, which Prometheus asks for.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4, which everybody reads.
    Prometheus,
}

impl Format {
    /// Returns the format that a request accepts.
    fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let accepts = |text: &str| text.contains("application/openmetrics-text");
        if accepted.into_iter().any(accepts) { Self::OpenMetrics } else { Self::Prometheus }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => OPEN_METRICS,
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Returns all metrics of a registry as text.
pub fn text_of(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut written = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut written, registry)?,
        Format::Prometheus => prometheus_text::encode(&mut written, registry)?,
    }
    Ok(written)
}

/// Returns the answer to a request for the metrics of a registry.
pub fn answer(registry: &Registry, headers: &HeaderMap) -> Answer {
    let format = Format::of(headers);
    match text_of(registry, format) {
        Ok(text) => http::text(StatusCode::OK, text, format.media_type()),
        Err(_) => http::text(StatusCode::INTERNAL_SERVER_ERROR, "failed to write metrics\n", "text/plain"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn open_metrics_only_where_it_is_asked_for() {
        // What Prometheus 2.42 sends.
        let asked = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in
            [(Some(asked), Format::OpenMetrics), (Some("*/*"), Format::Prometheus), (None, Format::Prometheus)]
        {
            let accept = accept.map(|text| (ACCEPT, HeaderValue::from_static(text)));
            assert_eq!(Format::of(&accept.into_iter().collect()), expected);
        }
        let registry = Registry::with_prefix(PREFIX);
        assert_eq!(text_of(&registry, Format::OpenMetrics).unwrap(), "# EOF\n");
        assert_eq!(text_of(&registry, Format::Prometheus).unwrap(), "");
    }
}
