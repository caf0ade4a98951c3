//! Prices of the services, and the cost of a run.

use serde::{Deserialize, Serialize};

use super::Requests;

/// Prices of the services, in one currency. The defaults are the public prices of Amazon S3 Standard, SQS and on-demand
/// `DynamoDB` in us-east-1 in 2025, with data transfer out to the internet. Other regions, partitions, vendors and
/// contracts differ.
/// Source: the price lists of Amazon S3, SQS and `DynamoDB`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Prices {
    /// The currency, as a label only.
    pub currency: String,
    /// Prices of the source's service.
    pub source: SidePrices,
    /// Prices of the destination's service.
    pub destination: SidePrices,
    /// Price of one million queue requests.
    pub queue_per_million: f64,
    /// Price of one million ledger write units.
    pub ledger_writes_per_million: f64,
    /// Price of one million ledger read units. A plan does not estimate them: they are few.
    pub ledger_reads_per_million: f64,
}

/// Prices of one side's service.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SidePrices {
    /// Price of a thousand PUT, COPY, POST and LIST requests.
    pub writes_per_thousand: f64,
    /// Price of a thousand GET, HEAD and other requests.
    pub reads_per_thousand: f64,
    /// Price of one gigabyte (10⁹ bytes) that leaves the service.
    pub out_per_gigabyte: f64,
}

impl Default for SidePrices {
    fn default() -> Self {
        Self { writes_per_thousand: 0.005, reads_per_thousand: 0.0004, out_per_gigabyte: 0.09 }
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            currency: "USD".into(),
            source: SidePrices::default(),
            destination: SidePrices::default(),
            queue_per_million: 0.40,
            ledger_writes_per_million: 0.625,
            ledger_reads_per_million: 0.125,
        }
    }
}

/// The estimated cost of a run, in the currency of the [`Prices`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Requests to both sides.
    pub requests: f64,
    /// Data transfer out of the source's service.
    pub out: f64,
    /// Queue and ledger.
    pub coordination: f64,
}

impl Cost {
    /// Returns the total.
    pub fn total(&self) -> f64 {
        self.requests + self.out + self.coordination
    }
}

impl Prices {
    pub(super) fn cost(
        &self,
        source: Requests,
        destination: Requests,
        bytes: u64,
        queue: u64,
        ledger_writes: u64,
    ) -> Cost {
        Cost {
            requests: self.source.of(source) + self.destination.of(destination),
            out: number(bytes) / 1e9 * self.source.out_per_gigabyte,
            coordination: number(queue) / 1e6 * self.queue_per_million
                + number(ledger_writes) / 1e6 * self.ledger_writes_per_million,
        }
    }
}

impl SidePrices {
    fn of(&self, requests: Requests) -> f64 {
        number(requests.writes) / 1e3 * self.writes_per_thousand
            + number(requests.reads) / 1e3 * self.reads_per_thousand
    }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate of money needs no more than 52 bits")]
fn number(count: u64) -> f64 {
    count as f64
}
