//! Counts of what a service was asked, and the port that tells them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::accept::listen;

/// Counts by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<BTreeMap<Cow<'static, str>, u64>>>);

impl Counts {
    /// Adds to a count.
    pub fn add(&self, name: impl Into<Cow<'static, str>>, more: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default() += more;
    }

    /// Returns all counts as JSON.
    pub fn json(&self) -> String {
        serde_json::json!(*self.0.lock().unwrap_or_else(PoisonError::into_inner)).to_string()
    }
}

/// Answers every HTTP request to a port of this machine with the counts as JSON, in the background.
pub async fn tell(port: u16, json: impl Fn() -> String + Send + 'static) -> anyhow::Result<()> {
    let listener = listen("counts", port).await?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let json = json();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", json.len());
            // Whoever asks may be gone already.
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(format!("{head}{json}").as_bytes()).await;
        }
    });
    Ok(())
}
