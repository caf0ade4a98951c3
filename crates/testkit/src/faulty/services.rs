//! Queue and ledger with injected faults.

use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{
    DeadLetter, DeadLetterQueue, Depth, Item, Ledger, LedgerKey, MeasuredQueue, OutgoingMessage, QueryPage, Queue,
    ReceivedMessage, Write, WriteError,
};

use super::Faulty;
use crate::Operation;

fn key_subject(key: &LedgerKey) -> String {
    format!("{} {}", key.partition, key.sort)
}

fn writes_subject(writes: &[Write]) -> String {
    let keys = writes.iter().map(|write| match write {
        Write::Put { item, .. } => key_subject(&item.key),
        Write::Add { key, .. } | Write::Delete { key, .. } => key_subject(key),
    });
    keys.collect::<Vec<_>>().join(", ")
}

impl<T: Queue> Queue for Faulty<T> {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        let subject = format!("{} messages", messages.len());
        self.call(Operation::SendMessages, &subject, || self.inner.send(messages)).await
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let request = || self.inner.receive(max, wait, visibility);
        let messages = self.call(Operation::ReceiveMessages, "", request).await?;
        // A process that died while waiting has received messages, but only their lease matters.
        self.alive().await;
        Ok(messages)
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        let request = || self.inner.set_visibility(receipt, visibility);
        self.call(Operation::SetVisibility, receipt, request).await
    }

    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        self.call(Operation::DeleteMessage, receipt, || self.inner.delete(receipt)).await
    }

    async fn delete_all(&self, receipts: &[String]) -> Result<Vec<usize>, ServiceError> {
        self.call(Operation::DeleteMessage, &receipts.join(" "), || self.inner.delete_all(receipts)).await
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        self.call(Operation::SendDeadLetter, reason, || self.inner.send_dead_letter(body, reason)).await
    }
}

impl<T: DeadLetterQueue> DeadLetterQueue for Faulty<T> {
    async fn receive_dead_letters(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<DeadLetter>, ServiceError> {
        let request = || self.inner.receive_dead_letters(max, wait, visibility);
        self.call(Operation::ReceiveDeadLetters, "", request).await
    }
}

impl<T: MeasuredQueue> MeasuredQueue for Faulty<T> {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        self.call(Operation::MeasureQueue, "", || self.inner.depth()).await
    }
}

impl<T: Ledger> Ledger for Faulty<T> {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        self.call(Operation::GetItem, &key_subject(key), || self.inner.get(key)).await
    }

    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        let subject = format!("{partition} {prefix}");
        let request = || self.inner.query(partition, prefix, after, limit);
        self.call(Operation::QueryItems, &subject, request).await
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        self.call(Operation::WriteItems, &writes_subject(writes), || self.inner.write(writes)).await
    }
}
