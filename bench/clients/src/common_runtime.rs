//! The AWS Common Runtime, by the client of Mountpoint for Amazon S3.

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use migration_core::etag::ETag;
use mountpoint_s3_client::config::{AddressingStyle, Allocator, EndpointConfig, S3ClientConfig, Uri};
use mountpoint_s3_client::types::{GetObjectParams, PutObjectSingleParams};
use mountpoint_s3_client::{ObjectClient as _, S3CrtClient};

use crate::way::{Body, REGION, Target, Way};

/// A client of the Common Runtime.
#[derive(Debug)]
pub struct CommonRuntime {
    client: S3CrtClient,
    target: Target,
}

impl CommonRuntime {
    /// Makes a client with its defaults.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        let endpoint = Uri::new_from_str(&Allocator::default(), &target.endpoint).context("failed to read the URL")?;
        let endpoint = EndpointConfig::new(REGION).endpoint(endpoint).addressing_style(AddressingStyle::Path);
        let client = S3CrtClient::new(S3ClientConfig::new().endpoint_config(endpoint));
        Ok(Self { client: client.context("failed to make the client")?, target })
    }
}

impl Way for CommonRuntime {
    async fn get(&self, key: &str) -> anyhow::Result<Vec<Bytes>> {
        let answer = self.client.get_object(&self.target.source, key, &GetObjectParams::new()).await?;
        Ok(answer.map_ok(|part| part.data).try_collect().await?)
    }

    async fn put(&self, key: &str, body: &Body) -> anyhow::Result<ETag> {
        let mut params = PutObjectSingleParams::new();
        params.custom_headers.push(("Content-MD5".to_owned(), body.content_md5()));
        let written = self.client.put_object_single(&self.target.destination, key, &params, body.bytes.clone());
        Ok(ETag::new(written.await?.etag.as_str()))
    }
}
