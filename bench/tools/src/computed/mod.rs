//! An S3 service that costs little: the bytes of its objects are computed, and those of uploads are compared with what
//! they should be, and not kept. Signatures are not checked.
//!
//! An upload that does not hold the computed bytes from its first byte on is taken for another content: it is hashed,
//! so that its ETag is right, and reads give the computed bytes. One that deviates later is damaged, and refused.

mod answer;
mod body;
mod buckets;
mod listing;
mod objects;
mod query;
mod requests;
mod unframe;
mod uploads;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use self::answer::{Body, Refusal};
use self::buckets::Buckets;
use self::query::Query;
use crate::accept::{Listen, listen, next};
use crate::counts::{self, Counts};

/// Bytes that are read from a connection at once.
const BUFFER: usize = 1 << 20;

/// Settings of the service.
#[derive(Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    listen: Listen,
    /// Port that tells how many requests came, by operation, and how many bytes of uploads.
    #[arg(long)]
    counts: u16,
    /// Drop the bytes of uploads without a look at them.
    #[arg(long)]
    unchecked: bool,
}

/// What the service knows and is told. Clones share it.
#[derive(Clone, Debug)]
struct Service {
    buckets: Arc<Mutex<Buckets>>,
    counts: Counts,
    unchecked: bool,
}

impl Service {
    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the process is ended.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let tls = settings.listen.tls()?;
    let service = Service { buckets: Arc::default(), counts: Counts::default(), unchecked: settings.unchecked };
    let told = service.counts.clone();
    counts::tell(settings.counts, move || told.json()).await?;
    let listener = listen("port", settings.listen.port).await?;
    loop {
        let stream = next(&listener).await;
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, service).await,
                // Programs probe, and go away.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => connection(stream, service).await,
                    Err(error) => eprintln!("failed to begin TLS: {error}"),
                },
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Service) {
    let answer = service_fn(|request| answer(service.clone(), request));
    // Clients that are killed break their connections.
    let _ = http1::Builder::new().max_buf_size(BUFFER).serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(service: Service, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let query = Query::of(request.uri());
    let path = request.uri().path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let (bucket, key) = (query::decoded(bucket), query::decoded(key));
    let done = match (bucket.as_str(), key.as_str()) {
        ("-", bucket) => administer(&service, request.method().clone(), bucket, request).await,
        ("", _) => {
            service.counts.add("ListBuckets", 1);
            Ok(answer::xml(&service.buckets().list()))
        }
        (bucket, "") => service.bucket(request.method(), bucket, &query),
        (bucket, key) => service.object(bucket, key, &query, request).await,
    };
    Ok(done.unwrap_or_else(Refusal::answer))
}

/// `PUT /-/BUCKET` adds computed objects, by lines of `SIZE KEY`; `DELETE /-/BUCKET` removes the bucket with them.
async fn administer(
    service: &Service,
    method: Method,
    bucket: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    match method {
        Method::PUT => {
            let lines = body::text_of(request.into_body()).await?;
            service.buckets().fill(bucket, &lines)?;
        }
        Method::DELETE => service.buckets().remove(bucket),
        _ => return Err(Refusal::NotImplemented),
    }
    Ok(answer::empty())
}
