//! Shows what a run would do, and estimates its cost.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use migration_core::estimate::{Cost, Estimate, Prices, Requests, SIZE_CLASSES, Sum};
use migration_core::finding::Finding;
use migration_core::pair::BucketPair;
use migration_core::records::ScanCounts;
use migration_core::size::human;
use migration_engine::scan::{DryRunError, Observer, Purpose, dry_run};
use migration_engine::{Process, Services};
use serde::Serialize;

use crate::findings::{List, ListError};

/// Arguments of a plan.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Write one line per object to this CSV file.
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// YAML file of prices that replace Amazon's public prices of us-east-1.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Format of the plan on standard output.
    #[arg(long, default_value = "text")]
    pub output: Output,
}

/// Formats of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Human-readable text.
    Text,
    /// One JSON object.
    Json,
}

/// Sums up findings and lists them.
struct Planner {
    estimate: Mutex<Estimate>,
    list: Option<List>,
}

impl Observer for Planner {
    fn found(&self, pair: &BucketPair, finding: &Finding<'_>) {
        // If another thread panicked, the sums lack at most the finding it was adding.
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner).add(finding);
        if let Some(list) = &self.list {
            list.add(pair, finding);
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file of prices can't be read.
    #[error("failed to read prices {path}: {source}")]
    Prices {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file of prices has wrong contents.
    #[error("failed to read prices {path}: {source}")]
    PricesInvalid {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: serde_yaml::Error,
    },
    /// The list could not be written.
    #[error(transparent)]
    List(#[from] ListError),
    /// The scan failed.
    #[error(transparent)]
    Scan(#[from] DryRunError),
    /// The plan could not be printed.
    #[error("failed to write plan: {0}")]
    Print(#[from] io::Error),
}

/// Scans both sides as a run would, without writing to either, and returns the plan.
pub async fn plan<P: Services>(process: Process<P>, args: &PlanArgs) -> Result<Plan, PlanError> {
    let prices = args.prices.as_deref().map_or_else(|| Ok(Prices::default()), read_prices)?;
    let list = args.list.as_deref().map(List::create).transpose()?;
    let estimate = Mutex::new(Estimate::new(&process.config));
    let planner = Arc::new(Planner { estimate, list });
    let purpose = Purpose { observer: Some(planner.clone()), ..Purpose::default() };
    let counts = dry_run(process, &purpose).await?;
    if let Some(list) = &planner.list {
        list.end()?;
    }
    let estimate = planner.estimate.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Plan::new(&estimate, &counts, &prices))
}

fn read_prices(path: &Path) -> Result<Prices, PlanError> {
    let text = std::fs::read_to_string(path).map_err(|source| PlanError::Prices { path: path.into(), source })?;
    serde_yaml::from_str(&text).map_err(|source| PlanError::PricesInvalid { path: path.into(), source })
}

/// A plan. Displayed as text for people; serialized for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is copied in all, `transfer` and `update`.
    #[serde(skip)]
    copied: Sum,
    transfer: Sum,
    update: Sum,
    skip: Sum,
    /// Skipped objects that were found up to date without comparing content.
    not_compared_by_content: u64,
    ignore: Sum,
    fail: Sum,
    delete: Sum,
    sizes: Vec<SizeClass>,
    batches: u64,
    source_requests: Requests,
    destination_requests: Requests,
    currency: String,
    cost: Cost,
    total_cost: f64,
}

/// Objects to copy in one size class.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SizeClass {
    /// Largest size in bytes; `None` for the last class.
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to: Option<u64>,
    #[serde(flatten)]
    sum: Sum,
}

impl Plan {
    fn new(estimate: &Estimate, counts: &ScanCounts, prices: &Prices) -> Self {
        let bounds = SIZE_CLASSES.into_iter().map(Some).chain([None]);
        let sizes = estimate.sizes.into_iter().zip(bounds).map(|(sum, up_to)| SizeClass { up_to, sum });
        let (source_requests, destination_requests) = estimate.requests();
        let cost = estimate.cost(prices, counts.batches);
        Self {
            copied: estimate.copied(),
            transfer: estimate.transfer,
            update: estimate.update,
            skip: estimate.skip,
            not_compared_by_content: counts.in_place_by_time + counts.in_place_by_size,
            ignore: estimate.ignore,
            fail: estimate.fail,
            delete: estimate.delete,
            sizes: sizes.collect(),
            batches: counts.batches,
            source_requests,
            destination_requests,
            currency: prices.currency.clone(),
            total_cost: cost.total(),
            cost,
        }
    }

    /// Returns what the run would copy.
    pub fn copied(&self) -> Sum {
        self.copied
    }

    /// Prints the plan to standard output.
    pub fn print(&self, output: Output) -> Result<(), PlanError> {
        let mut out = io::stdout().lock();
        match output {
            Output::Text => write!(out, "{self}")?,
            Output::Json => {
                serde_json::to_writer(&mut out, self).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weak = format!("in place; {} of them not compared by content", self.not_compared_by_content);
        for (name, sum, what) in [
            ("transfer", self.transfer, "not at the destination"),
            ("update", self.update, "another content at the destination"),
            ("skip", self.skip, weak.as_str()),
            ("ignore", self.ignore, "hidden by the filters"),
            ("fail", self.fail, "no valid key at the destination"),
            ("delete", self.delete, "not at the source"),
        ] {
            writeln!(f, "{name:<9} {:>14} objects {:>11}   {what}", sum.objects, human(sum.bytes))?;
        }
        writeln!(f, "\nto copy, by size")?;
        for class in self.sizes.iter().filter(|class| class.sum.objects > 0) {
            let mut name = String::new();
            match class.up_to {
                Some(0) => name.push_str("empty"),
                Some(most) => write!(name, "up to {}", human(most))?,
                None => name.push_str("larger"),
            }
            writeln!(f, "  {name:<16} {:>5} objects {:>11}", class.sum.objects, human(class.sum.bytes))?;
        }
        writeln!(f, "\nestimated requests and cost, in {} batches", self.batches)?;
        for (side, Requests { reads, writes }) in
            [("source", self.source_requests), ("destination", self.destination_requests)]
        {
            writeln!(f, "  {side:<12} {reads:>14} GET, HEAD {writes:>14} PUT, POST, COPY, LIST")?;
        }
        let Cost { requests, out, coordination } = self.cost;
        let (currency, total) = (&self.currency, self.total_cost);
        writeln!(
            f,
            "  {currency} {total:.2}: requests {requests:.2}, data transfer out of the source {out:.2}, queue and ledger {coordination:.2}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::compare::Difference;
    use migration_core::config::JobConfig;
    use migration_core::object::ListedObject;

    fn plan_of_one() -> Plan {
        let config: JobConfig = serde_yaml::from_str(
            r"
version: 1
job: {namespace: default, name: photos, uid: u-1}
buckets: [{sourceBucket: a, destinationBucket: b}]
source: {region: cn-north-1}
destination: {region: us-east-1}
transfer: {partSize: Auto, multipartThreshold: 16Mi, filesPerWorker: 4, partsPerFile: 4, memoryLimit: 256Mi, maxAttempts: 5}
queue: {region: us-east-1, url: 'http://q/1', deadLetterUrl: 'http://q/2'}
ledger: {region: us-east-1, table: t}
",
        )
        .unwrap();
        let mut estimate = Estimate::new(&config);
        let source = ListedObject {
            key: "k".into(),
            size: 2_000_000_000,
            etag: None,
            modified: 0,
            version_id: None,
            storage_class: None,
        };
        estimate.add(&Finding::Transfer { source: &source, destination: None, difference: Difference::Missing });
        let counts = ScanCounts { batches: 1, objects: 1, ..ScanCounts::default() };
        Plan::new(&estimate, &counts, &Prices::default())
    }

    #[test]
    fn a_plan_reads_well() {
        let text = plan_of_one().to_string();
        for line in ["transfer               1 objects", "up to 16.0 GiB", "in 1 batches", "USD 0.18: requests 0.00"] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_plan_is_json_for_programs() {
        let json: serde_json::Value = serde_json::to_value(plan_of_one()).unwrap();
        assert_eq!(json["transfer"]["bytes"], 2_000_000_000_u64);
        assert_eq!(json["sizes"][7]["objects"], 1);
        assert_eq!(json["sourceRequests"]["reads"], 120);
        assert!(json["cost"]["out"].as_f64().unwrap() > 0.17);
    }
}
