//! Waiting for conditions with a time limit.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Polls at the interval `every` until there is a value; fails after `limit`.
///
/// For services and processes, which can't be watched. Resources of the cluster are watched, see [`crate::kubernetes`].
pub async fn until<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = look().await? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("timed out after {limit:?} waiting for {what}");
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_with_the_value_or_at_the_limit() {
        let mut left = 3;
        let look = async || {
            left -= 1;
            Ok((left == 0).then_some("there"))
        };
        let found = until("it", Duration::from_secs(5), Duration::from_millis(1), look).await;
        assert_eq!(found.unwrap(), "there");
        let never = async || Ok(None::<()>);
        let error = until("never", Duration::from_millis(5), Duration::from_millis(1), never).await.unwrap_err();
        assert!(error.to_string().contains("never"), "{error}");
    }
}
