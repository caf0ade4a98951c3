//! Prices of the services, by which the cost of runs is computed.

use kube_core::Rule;
use migration_core::estimate::{Prices as CorePrices, SidePrices as CoreSidePrices};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Prices of the services, in one currency: the same fields as in the file of `plan --prices`. Those that are absent are
/// the public prices of Amazon S3 Standard, SQS and on-demand DynamoDB in us-east-1, with data transfer out to the
/// internet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Prices {
    /// The currency of all prices and of spec.limits.cost, by its three letters, such as `CNY`. `USD` by default.
    #[schemars(length(max = 16))]
    pub currency: String,

    /// Prices of the source's service.
    pub source: SidePrices,

    /// Prices of the destination's service.
    pub destination: SidePrices,

    /// Price of a million requests to the queue. 0.4 by default.
    #[schemars(schema_with = "price")]
    pub queue_per_million: f64,

    /// Price of a million write units of the ledger. 0.625 by default.
    #[schemars(schema_with = "price")]
    pub ledger_writes_per_million: f64,

    /// Price of a million read units of the ledger. 0.125 by default.
    #[schemars(schema_with = "price")]
    pub ledger_reads_per_million: f64,
}

/// Prices of one side's service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SidePrices {
    /// Price of a thousand PUT, COPY, POST and LIST requests. 0.005 by default.
    #[schemars(schema_with = "price")]
    pub writes_per_thousand: f64,

    /// Price of a thousand GET, HEAD and other requests. 0.0004 by default.
    #[schemars(schema_with = "price")]
    pub reads_per_thousand: f64,

    /// Price of a gigabyte (10⁹ bytes) that leaves the service. Write 0 where the workers are in the bucket's region and
    /// reach it by a gateway endpoint. 0.09 by default.
    #[schemars(schema_with = "price")]
    pub out_per_gigabyte: f64,
}

impl Default for Prices {
    fn default() -> Self {
        let CorePrices {
            currency,
            source,
            destination,
            queue_per_million,
            ledger_writes_per_million,
            ledger_reads_per_million,
        } = CorePrices::default();
        Self {
            currency,
            source: source.into(),
            destination: destination.into(),
            queue_per_million,
            ledger_writes_per_million,
            ledger_reads_per_million,
        }
    }
}

impl Default for SidePrices {
    fn default() -> Self {
        CoreSidePrices::default().into()
    }
}

impl From<CoreSidePrices> for SidePrices {
    fn from(prices: CoreSidePrices) -> Self {
        let CoreSidePrices { writes_per_thousand, reads_per_thousand, out_per_gigabyte } = prices;
        Self { writes_per_thousand, reads_per_thousand, out_per_gigabyte }
    }
}

impl From<SidePrices> for CoreSidePrices {
    fn from(prices: SidePrices) -> Self {
        let SidePrices { writes_per_thousand, reads_per_thousand, out_per_gigabyte } = prices;
        Self { writes_per_thousand, reads_per_thousand, out_per_gigabyte }
    }
}

impl From<&Prices> for CorePrices {
    fn from(prices: &Prices) -> Self {
        let &Prices {
            ref currency,
            source,
            destination,
            queue_per_million,
            ledger_writes_per_million,
            ledger_reads_per_million,
        } = prices;
        Self {
            currency: currency.clone(),
            source: source.into(),
            destination: destination.into(),
            queue_per_million,
            ledger_writes_per_million,
            ledger_reads_per_million,
        }
    }
}

/// Returns the rule that the currency is one, so that it can be a label of metrics.
pub(crate) fn currency() -> Rule {
    Rule::new("self.currency.matches('^[A-Z]{3}$')")
        .message("prices.currency is not a currency: write its three capital letters, such as USD, EUR or CNY")
}

/// Returns the rule that a cost is an amount of money above 0.
pub(crate) fn cost() -> Rule {
    Rule::new(
        "string(self) == self ? self.matches('^[0-9]{1,9}([.][0-9]{1,6})?$') && self.matches('[1-9]') : \
         self >= 1 && self <= 999999999",
    )
    .message(
        "limits.cost is not an amount of money: write a number above 0 and below a billion, with decimals as a text, such \
         as 500 or '12.50', in the currency of spec.prices",
    )
}

/// Returns the schema of an amount of money: a number or a text.
pub(crate) fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 24})
}

fn price(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "number", "minimum": 0, "maximum": 1_000_000})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_those_of_a_plan() {
        assert_eq!(CorePrices::from(&Prices::default()), CorePrices::default());
        let text = "{currency: CNY, source: {outPerGigabyte: 0.93}, ledgerReadsPerMillion: 0}";
        let [ours, core] =
            [CorePrices::from(&serde_yaml::from_str::<Prices>(text).unwrap()), serde_yaml::from_str(text).unwrap()];
        assert_eq!(ours, core);
        assert_eq!((core.source.out_per_gigabyte, core.queue_per_million), (0.93, 0.4));
    }
}
