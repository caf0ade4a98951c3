//! The requests that the store of this project sends itself, past the SDK's orchestration.

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use migration_aws::{Access, CredentialSource, Reach, S3Store};
use migration_core::config::WriteSettings;
use migration_core::error::Service;
use migration_core::etag::ETag;
use migration_core::object::{Attributes, Tags};
use migration_core::ports::{GetRequest, ObjectStore as _, PutRequest, Span, WriteCondition};

use crate::way::{Body, REGION, Target, Way};

/// A store.
#[derive(Debug)]
pub struct Direct {
    store: S3Store,
    target: Target,
    attributes: Attributes,
    tags: Tags,
}

impl Direct {
    /// Makes a store, which learns from the SDK's first request to a bucket how to send the rest.
    pub async fn new(target: Target) -> anyhow::Result<Self> {
        let access = Access {
            region: REGION.to_owned(),
            endpoint: Some(target.endpoint.clone()),
            credentials: CredentialSource::Pod,
        };
        let settings = WriteSettings::default();
        let store = S3Store::through(&access, &Reach::default(), true, &settings, Service::Source).await;
        Ok(Self { store, target, attributes: Attributes::default(), tags: Tags::default() })
    }
}

impl Way for Direct {
    async fn get(&self, key: &str) -> anyhow::Result<Vec<Bytes>> {
        let bucket = &self.target.source;
        let request = GetRequest { bucket, key, span: Span::Whole, if_match: None, version_id: None };
        let answer = self.store.get(request).await.context("failed to send the request")?;
        answer.body.try_collect().await.context("failed to read the body")
    }

    async fn put(&self, key: &str, body: &Body) -> anyhow::Result<ETag> {
        let request = PutRequest {
            bucket: &self.target.destination,
            key,
            body: body.bytes.clone(),
            md5: body.md5,
            attributes: &self.attributes,
            tags: &self.tags,
            condition: &WriteCondition::Any,
        };
        Ok(self.store.put(request).await?.etag)
    }
}
