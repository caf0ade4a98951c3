//! An S3 service that only lists: buckets of any number of computed keys.

use std::fmt::Write as _;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use migration_core::ports::{ListRequest, ObjectStore as _};
use migration_testkit::{KeyShape, SyntheticStore};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::proxy::{Body, full};
use crate::tls::Listening;

/// Time of modification of all objects, as listings have it.
const MODIFIED: &str = "2023-07-22T04:26:40.000Z";

/// Serves a synthetic bucket under any name.
pub async fn serve(store: SyntheticStore) -> anyhow::Result<Listening> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen")?;
    let address = listener.local_addr().context("failed to listen")?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (store, _) = (store.clone(), stream.set_nodelay(true));
            tokio::spawn(async move {
                let service = service_fn(|request| answer(&store, request));
                // The client may have disconnected.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(Listening::new(address, task))
}

async fn answer(store: &SyntheticStore, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = |name: &str| {
        let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name);
        pair.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    if value("list-type").is_none() {
        let mut response = Response::new(full("this service only lists"));
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        return Ok(response);
    }
    let (prefix, start_after, token) = (value("prefix"), value("start-after"), value("continuation-token"));
    let page = store
        .list(ListRequest {
            bucket: "any",
            prefix: prefix.as_deref().unwrap_or_default(),
            start_after: start_after.as_deref(),
            continuation: token.as_deref(),
            max_keys: value("max-keys").and_then(|number| number.parse().ok()),
        })
        .await?;
    let mut text = String::from("<ListBucketResult>");
    for object in &page.objects {
        let etag = object.etag.as_ref().map(migration_core::etag::ETag::as_str).unwrap_or_default();
        write!(
            text,
            "<Contents><Key>{}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{etag}&quot;</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            object.key, object.size
        )?;
    }
    match &page.continuation {
        Some(next) => write!(
            text,
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken></ListBucketResult>"
        )?,
        None => text.push_str("<IsTruncated>false</IsTruncated></ListBucketResult>"),
    }
    let mut response = Response::new(full(text));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/xml"));
    Ok(response)
}

/// Returns a bucket of so many keys, or the same without every ninth key.
pub fn bucket(count: u64, is_whole: bool) -> SyntheticStore {
    let store = SyntheticStore::new(KeyShape::Dates, count);
    if is_whole { store } else { store.without_every(9) }
}
