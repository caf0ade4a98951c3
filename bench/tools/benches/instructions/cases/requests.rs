//! Requests to S3. The service is in another process, and its instructions are not counted.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use md5::{Digest as _, Md5};
use migration_aws::{Access, CredentialSource, Reach, S3Store, StaticKeys};
use migration_core::config::WriteSettings;
use migration_core::error::Service;
use migration_core::object::Attributes;
use migration_core::ports::{GetRequest, HeadRequest, ListRequest, ObjectStore, PutRequest, Span, WriteCondition};
use migration_engine::telemetry::{Metered, Telemetry};
use tokio::runtime::Builder;

use crate::canned::{BODY, KEYS};

const BUCKET: &str = "bucket";

/// How a store is used.
pub trait Use {
    type Store: ObjectStore;
    fn wrap(store: S3Store) -> Self::Store;
}

/// As it is.
pub struct Plain;

/// With metrics of its requests, as programs use it.
pub struct Counted;

impl Use for Plain {
    type Store = S3Store;

    fn wrap(store: S3Store) -> S3Store {
        store
    }
}

impl Use for Counted {
    type Store = Metered<S3Store>;

    fn wrap(store: S3Store) -> Metered<S3Store> {
        Metered::new(store, Service::Source, &Arc::new(Telemetry::default()))
    }
}

/// Sends requests one after another: the first by the SDK, from which the store learns how to send the rest itself.
fn send<U: Use>(rounds: u32, port: u16, request: &impl AsyncFn(&U::Store, &str)) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let keys =
            StaticKeys { access_key_id: "AKIDEXAMPLE".into(), secret_access_key: "s".into(), session_token: None };
        let access = Access {
            region: "eu-central-1".into(),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            credentials: CredentialSource::Static(keys),
        };
        let settings = WriteSettings::default();
        let store = U::wrap(S3Store::through(&access, &Reach::default(), true, &settings, Service::Source).await);
        // The first by the store itself looks things up that are kept, too.
        for n in 0..=rounds {
            request(&store, &format!("data/part-{n:06}.parquet")).await;
        }
    });
}

/// Lists pages of 1,000 keys.
pub fn list<U: Use>(rounds: u32, port: u16) {
    send::<U>(rounds, port, &async |store: &U::Store, _: &str| {
        let request = ListRequest { bucket: BUCKET, prefix: "", start_after: None, continuation: None, max_keys: None };
        let page = store.list(request).await.unwrap();
        assert_eq!(black_box(page).objects.len(), KEYS as usize);
    });
}

/// Looks objects up.
pub fn head<U: Use>(rounds: u32, port: u16) {
    send::<U>(rounds, port, &async |store: &U::Store, key: &str| {
        let head = store.head(HeadRequest::new(BUCKET, key)).await.unwrap();
        assert_eq!(black_box(head).unwrap().size, BODY as u64);
    });
}

/// Reads objects to their end.
pub fn get<U: Use>(rounds: u32, port: u16) {
    send::<U>(rounds, port, &async |store: &U::Store, key: &str| {
        let request = GetRequest { bucket: BUCKET, key, span: Span::Whole, if_match: None, version_id: None };
        let mut answer = store.get(request).await.unwrap();
        let mut len = 0;
        while let Some(chunk) = answer.body.try_next().await.unwrap() {
            len += black_box(chunk).len();
        }
        assert_eq!(len, BODY);
    });
}

/// Writes objects, with an MD5 that is known.
pub fn put<U: Use>(rounds: u32, port: u16) {
    let body = Bytes::from(vec![b'x'; BODY]);
    let md5 = Md5::digest(&body).into();
    let attributes = Attributes { content_type: Some("application/octet-stream".into()), ..Attributes::default() };
    send::<U>(rounds, port, &async |store: &U::Store, key: &str| {
        let (body, condition) = (body.clone(), &WriteCondition::Absent);
        let request =
            PutRequest { bucket: BUCKET, key, body, md5, attributes: &attributes, tags: &Vec::new(), condition };
        black_box(store.put(request).await.unwrap());
    });
}
