//! The operator's use of the ledger: checks the progress of the run and ends it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use migration_core::progress::{RunProgress, Tally, end_of_run, progress};
use migration_core::records::{
    self, BATCH_PREFIX, BatchEnd, COUNTER_PREFIX, Counters, CurrentRun, FailureRecord, RunEnd, RunRecord,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::config::{JOB, TABLE};

/// Ledger of a case.
#[derive(Clone, Debug)]
pub struct Ledger {
    client: Client,
}

impl Ledger {
    /// Creates the table.
    pub async fn create(client: Client) -> anyhow::Result<Self> {
        let mut create = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(ScalarAttributeType::S).build()?;
            create = create
                .attribute_definitions(attribute)
                .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(kind).build()?);
        }
        create.send().await.context("failed to make the table")?;
        Ok(Self { client })
    }

    /// Returns the progress of the last run; `None` before the first run.
    pub async fn progress(&self) -> anyhow::Result<Option<RunProgress>> {
        let Some(run) = self.last_run().await? else { return Ok(None) };
        Ok(Some(progress(&run, &self.tally(&run).await?)))
    }

    /// Ends the last run if it is over; returns its end.
    pub async fn end_run(&self) -> anyhow::Result<Option<RunEnd>> {
        let Some(mut run) = self.last_run().await? else { return Ok(None) };
        if run.end.is_some() {
            return Ok(run.end);
        }
        let Some(end) = end_of_run(&run, &self.tally(&run).await?, now()?) else { return Ok(None) };
        let revision = run.revision;
        run.revision += 1;
        run.end = Some(end.clone());
        self.replace_run(&run, revision).await?;
        Ok(Some(end))
    }

    /// Returns the failures of the last run.
    pub async fn failures(&self) -> anyhow::Result<Vec<FailureRecord>> {
        let Some(run) = self.last_run().await? else { return Ok(Vec::new()) };
        self.query(&records::failure_partition(JOB, &run.run, 0), "").await
    }

    async fn last_run(&self) -> anyhow::Result<Option<RunRecord>> {
        let partition = records::job_partition(JOB);
        let Some(current) = self.get::<CurrentRun>(&partition, &records::current_key(JOB).sort).await? else {
            return Ok(None);
        };
        self.get(&partition, &records::run_key(JOB, &current.run).sort).await
    }

    /// Reads the counters before the ends of stale batches, see [`Tally`].
    async fn tally(&self, run: &RunRecord) -> anyhow::Result<Tally> {
        let partition = records::run_partition(JOB, &run.run);
        let mut tally = Tally::default();
        for counters in self.query::<Counters>(&partition, COUNTER_PREFIX).await? {
            tally.ended.add(&counters);
        }
        for stale in &run.stale {
            let after = stale.after();
            for end in self.query::<BatchEnd>(&partition, &stale.prefix()).await? {
                let key = format!("{BATCH_PREFIX}{}", end.id.as_str());
                if after.as_ref().is_none_or(|after| key > *after) {
                    tally.stale.add(&Counters::of(&end));
                }
            }
        }
        Ok(tally)
    }

    async fn get<T: DeserializeOwned>(&self, partition: &str, sort: &str) -> anyhow::Result<Option<T>> {
        let get = self.client.get_item().table_name(TABLE).consistent_read(true);
        let get = get.key("pk", AttributeValue::S(partition.into())).key("sk", AttributeValue::S(sort.into()));
        let item = get.send().await.context("failed to read the ledger")?.item;
        item.map(|attributes| read(attributes.into_iter())).transpose()
    }

    async fn query<T: DeserializeOwned>(&self, partition: &str, prefix: &str) -> anyhow::Result<Vec<T>> {
        let query = self.client.query().table_name(TABLE).consistent_read(true);
        let query = query
            .expression_attribute_names("#p", "pk")
            .expression_attribute_values(":p", AttributeValue::S(partition.into()));
        // A key condition accepts no empty value.
        let query = if prefix.is_empty() {
            query.key_condition_expression("#p = :p")
        } else {
            query
                .key_condition_expression("#p = :p AND begins_with(#s, :s)")
                .expression_attribute_names("#s", "sk")
                .expression_attribute_values(":s", AttributeValue::S(prefix.into()))
        };
        let mut items = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            found.push(read(item.context("failed to query the ledger")?.into_iter())?);
        }
        Ok(found)
    }

    async fn replace_run(&self, run: &RunRecord, revision: u64) -> anyhow::Result<()> {
        let key = records::run_key(JOB, &run.run);
        let Value::Object(attributes) = serde_json::to_value(run)? else { anyhow::bail!("a run is no object") };
        let mut put = self.client.put_item().table_name(TABLE);
        for (name, value) in &attributes {
            put = put.item(name, attribute(value));
        }
        put.item("pk", AttributeValue::S(key.partition))
            .item("sk", AttributeValue::S(key.sort))
            .condition_expression("#r = :r")
            .expression_attribute_names("#r", "revision")
            .expression_attribute_values(":r", AttributeValue::N(revision.to_string()))
            .send()
            .await
            .context("failed to end the run")?;
        Ok(())
    }
}

fn now() -> anyhow::Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("failed to read the clock")?;
    i64::try_from(since.as_millis()).context("failed to read the clock")
}

fn read<T: DeserializeOwned>(attributes: impl Iterator<Item = (String, AttributeValue)>) -> anyhow::Result<T> {
    let values = attributes.map(|(name, value)| Ok((name, json(value)?))).collect::<anyhow::Result<Map<_, _>>>()?;
    serde_json::from_value(Value::Object(values)).context("failed to read a record of the ledger")
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => AttributeValue::L(values.iter().map(attribute).collect()),
        Value::Object(values) => AttributeValue::M(values.iter().map(|(n, v)| (n.clone(), attribute(v))).collect()),
    }
}

fn json(attribute: AttributeValue) -> anyhow::Result<Value> {
    Ok(match attribute {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(truth) => Value::Bool(truth),
        AttributeValue::N(text) => Value::Number(text.parse::<Number>()?),
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::L(values) => Value::Array(values.into_iter().map(json).collect::<anyhow::Result<_>>()?),
        AttributeValue::M(values) => {
            let read = |(name, value)| Ok((name, json(value)?));
            Value::Object(values.into_iter().map(read).collect::<anyhow::Result<_>>()?)
        }
        other => anyhow::bail!("failed to read an attribute of the ledger: {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let value = serde_json::json!({"a": [1, -2, null, true, "x"], "b": {"c": 0.5}});
        assert_eq!(json(attribute(&value)).unwrap(), value);
    }
}
