use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::operation::Operation;
use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};

use super::Metered;

impl<Q: Queue> Queue for Metered<Q> {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        let timer = self.begin(Operation::SendMessages);
        timer.answered(self.inner.send(messages).await)
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let timer = self.begin(Operation::ReceiveMessages);
        timer.answered(self.inner.receive(max, wait, visibility).await)
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::SetVisibility);
        timer.answered(self.inner.set_visibility(receipt, visibility).await)
    }

    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::DeleteMessage);
        timer.answered(self.inner.delete(receipt).await)
    }

    async fn delete_all(&self, receipts: &[String]) -> Result<Vec<usize>, ServiceError> {
        let timer = self.begin(Operation::DeleteMessage);
        timer.answered(self.inner.delete_all(receipts).await)
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::SendDeadLetter);
        timer.answered(self.inner.send_dead_letter(body, reason).await)
    }
}
