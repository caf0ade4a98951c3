//! GET and PUT, with the body of the one as that of the other.

use std::sync::Arc;

use http_body::Body as _;
use http_body_util::Either;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::client::{Connection, check_size, connector};
use crate::work::{Settings, Work};

/// Copies all of the work.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let work = Arc::new(Work::read(&settings.work)?);
    let tls = settings.ca.as_deref().map(connector).transpose()?;
    let mut tasks = JoinSet::new();
    for _ in 0..settings.in_flight {
        tasks.spawn(copy(work.clone(), tls.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn copy(work: Arc<Work>, tls: Option<TlsConnector>) -> anyhow::Result<()> {
    let (mut source, mut destination) = (Connection::new(tls.clone()), Connection::new(tls));
    while let Some(piece) = work.take() {
        let body = source.get(piece).await?;
        check_size(body.size_hint().exact().unwrap_or_default(), piece)?;
        destination.put(piece, Either::Left(body)).await?;
    }
    Ok(())
}
