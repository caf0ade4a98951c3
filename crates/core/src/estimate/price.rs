//! What services charge.

use serde::{Deserialize, Serialize};

use super::Requests;

/// What services charge, in one currency. The default is the public price of Amazon S3 Standard, SQS and on-demand
/// `DynamoDB` in us-east-1, with bytes that leave it to the internet, as it was in 2025; other regions, partitions,
/// vendors and contracts have others.
/// Source: the price lists of Amazon S3, SQS and `DynamoDB`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Prices {
    /// The currency.
    pub currency: String,
    /// The source's service.
    pub source: SidePrices,
    /// The destination's service.
    pub destination: SidePrices,
    /// A million requests to the queue.
    pub queue_per_million: f64,
    /// A million units of writes to the ledger.
    pub ledger_writes_per_million: f64,
}

/// What a side's service charges.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SidePrices {
    /// A thousand PUT, COPY, POST and LIST requests.
    pub writes_per_thousand: f64,
    /// A thousand GET, HEAD and other requests.
    pub reads_per_thousand: f64,
    /// A gigabyte (10⁹ bytes) that leaves the service.
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
        }
    }
}

/// About what a run costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Requests to both sides.
    pub requests: f64,
    /// Bytes that leave the source's service.
    pub out: f64,
    /// Queue and ledger.
    pub coordination: f64,
}

impl Cost {
    /// All of it.
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
