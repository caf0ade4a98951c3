//! Waiting on conditions, each with a limit.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Looks again and again, `every` so often, until there is a value; fails when there is none after `limit`.
///
/// For what can't be watched: services and processes. Resources of the cluster are watched, see [`crate::kubernetes`].
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
            bail!("waited {limit:?} in vain for {what}");
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
