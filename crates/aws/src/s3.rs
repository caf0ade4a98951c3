//! [`ObjectStore`] on Amazon S3 and those that speak like it.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryPartition;
use migration_core::config::{S3Side, WriteSettings};
use migration_core::error::{ServiceError, Side};
use migration_core::ports::{
    CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest, GetResponse, HeadRequest, ListPage,
    ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart, PutRequest, PutTags, Tags, UploadRef,
    Written,
};

use self::headers::StripHeaders;
use self::packing::Packing;
use self::payer::RequesterPays;
use self::settings::Settings;
use crate::access::{Access, CredentialSource};
use crate::http::Reach;
use crate::sdk;

mod copy;
mod encoding;
mod headers;
mod list;
mod packing;
mod part;
mod payer;
mod progress;
mod read;
mod settings;
mod streamed;
mod tags;
mod upload;
mod versions;
mod write;
mod written;

/// One side's S3 service. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    settings: Settings,
    packing: Packing,
}

impl S3Store {
    /// The store of a job's side. Sends nothing yet.
    ///
    /// `settings` are those of every object written. Each request is one attempt; what passes is the caller's to try again.
    pub async fn new(side: &S3Side, settings: &WriteSettings, which: Side) -> Self {
        Self::through(&Access::from(&side.service), &side.into(), side.path_style, settings, which).await
    }

    /// The same with keys in hand, reached as the environment says.
    pub async fn with_access(access: &Access, path_style: bool, settings: &WriteSettings, which: Side) -> Self {
        Self::through(access, &Reach::default(), path_style, settings, which).await
    }

    /// The same for a service that is reached in a way of its own.
    pub async fn through(
        access: &Access,
        reach: &Reach,
        path_style: bool,
        settings: &WriteSettings,
        which: Side,
    ) -> Self {
        let mut config = Builder::from(&sdk::load_through(access, reach).await)
            .force_path_style(path_style)
            .interceptor(StripHeaders)
            .retry_config(sdk::one_attempt())
            .retry_classifier(sdk::OnlyWrongClocks)
            .retry_partition(RetryPartition::new(format!("s3-{which}")));
        if let Some(endpoint) = &access.endpoint {
            config = config.endpoint_url(with_slash(endpoint));
        }
        if reach.requester_pays {
            config = config.interceptor(RequesterPays);
        }
        if access.credentials == CredentialSource::Anonymous {
            config = config.allow_no_auth();
        }
        Self { client: Client::from_conf(config.build()), settings: settings.into(), packing: Packing::default() }
    }

    /// What one request has in place of the client's own time for a try.
    fn within(attempt: Duration) -> Builder {
        Builder::new().timeout_config(sdk::timeouts(attempt))
    }
}

/// An endpoint with one slash at its end: the SDK's rules put a bucket's name right behind what they are given.
fn with_slash(endpoint: &str) -> String {
    format!("{}/", endpoint.trim_end_matches('/'))
}

impl ObjectStore for S3Store {
    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        list::objects(&self.client, request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        versions::newest(&self.client, request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        read::get(&self.client, &self.packing, request).await
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        read::head(&self.client, &self.packing, request).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        tags::get(&self.client, bucket, key, version_id).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        tags::put(&self.client, request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        write::put(&self.client, &self.settings, request).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        copy::object(&self.client, &self.settings, request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        write::delete(&self.client, request).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        write::create_upload(&self.client, &self.settings, request).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        part::put_part(&self.client, request).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        copy::part(&self.client, request).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        upload::parts(&self.client, upload, after).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        upload::complete(&self.client, request).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        upload::abort(&self.client, upload).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        list::uploads(&self.client, bucket, key).await
    }
}

#[cfg(test)]
mod tests;
