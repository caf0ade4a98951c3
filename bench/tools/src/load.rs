//! GETs whose bodies are dropped, and PUTs of computed bodies.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use http_body_util::Either;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::client::{Connection, check_size, connector, drain};
use crate::pattern::Content;
use crate::work::{self, Work};

/// What is sent.
#[derive(Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    work: work::Settings,
    /// Requests to send.
    #[arg(long, default_value = "both")]
    send: Send,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Send {
    /// GETs.
    Get,
    /// PUTs.
    Put,
    /// A GET and a PUT of each piece.
    Both,
}

/// Sends all of the work.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let work = Arc::new(Work::read(&settings.work.work)?);
    let tls = settings.work.ca.as_deref().map(connector).transpose()?;
    let mut tasks = JoinSet::new();
    for _ in 0..settings.work.in_flight {
        tasks.spawn(send(work.clone(), tls.clone(), settings.send));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn send(work: Arc<Work>, tls: Option<TlsConnector>, send: Send) -> anyhow::Result<()> {
    let (mut source, mut destination) = (Connection::new(tls.clone()), Connection::new(tls));
    while let Some(piece) = work.take() {
        if send != Send::Put {
            check_size(drain(source.get(piece).await?).await?, piece)?;
        }
        if send != Send::Get {
            let body = Content::new(piece.offset.unwrap_or_default(), piece.size);
            destination.put(piece, Either::Right(body)).await?;
        }
    }
    Ok(())
}
