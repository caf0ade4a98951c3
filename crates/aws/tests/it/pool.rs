//! Connections are kept for the next requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use migration_aws::S3Store;
use migration_core::config::WriteSettings;
use migration_core::error::Service;
use migration_core::ports::{HeadRequest, ObjectStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::access;
use crate::support::wire::receive;

/// Most objects that one worker copies at once.
const AT_ONCE: usize = 256;

const FOUND: &[u8] = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\nx-amz-request-id: R\r\ncontent-length: 0\r\n\r\n";

/// Starts a server that answers once `AT_ONCE` requests wait, and counts its connections.
async fn patient() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connections, all_here) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(AT_ONCE)));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let all_here = all_here.clone();
            tokio::spawn(async move {
                while receive(&mut stream).await.is_some() {
                    all_here.wait().await;
                    stream.write_all(FOUND).await.unwrap();
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn as_many_connections_stay_as_requests_were_in_flight() {
    let (address, connections) = patient().await;
    let access = access(format!("http://{address}"));
    let store = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
    for round in 0..3 {
        let mut requests = JoinSet::new();
        for number in 0..AT_ONCE {
            let store = store.clone();
            requests.spawn(async move { store.head(HeadRequest::new("bkt", &number.to_string())).await });
        }
        while let Some(answered) = requests.join_next().await {
            assert!(answered.unwrap().unwrap().is_some());
        }
        assert_eq!(connections.load(Ordering::Relaxed), AT_ONCE, "round {round}");
    }
}
