//! Repeats requests of short programs, which report a fault of a side instead of waiting for its end at a gate.

use std::time::Duration;

use migration_core::error::ServiceError;
use tracing::warn;

/// Times that a request is sent.
const TRIES: u32 = 4;
/// Half the time before a request is sent a second time; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Sends a request again while that may help.
pub(crate) async fn repeated<T, F: Future<Output = Result<T, ServiceError>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, ServiceError> {
    let mut tries = 1;
    loop {
        match request().await {
            Err(error) if error.is_retryable() && tries < TRIES => {
                warn!(%error, "sending a request again");
                tokio::time::sleep(FIRST_WAIT * (1 << tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}
