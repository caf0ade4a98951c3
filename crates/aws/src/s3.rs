//! [`ObjectStore`] and [`BucketAdmin`] on Amazon S3 and S3-compatible services.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryPartition;
use migration_core::config::{S3Side, WriteSettings};
use migration_core::congestion::Algorithm;
use migration_core::error::{Service, ServiceError};
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    BucketAdmin, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart,
    PutRequest, PutTags, Tags, UploadRef, Written,
};

use self::clock::ServiceClock;
use self::direct::Direct;
use self::headers::StripHeaders;
use self::packing::Packing;
use self::payer::RequesterPays;
use self::settings::Settings;
use self::whole::WholeDocuments;
use crate::access::{Access, CredentialSource};
use crate::http::{Reach, Requests};
use crate::sdk;

mod bucket;
mod capabilities;
mod clock;
mod copy;
mod direct;
mod encoding;
mod fetch;
mod headers;
mod list;
mod packing;
mod page;
mod part;
mod payer;
mod progress;
mod read;
mod settings;
mod streamed;
mod tags;
mod upload;
mod versions;
mod whole;
mod write;
mod written;

/// S3 service of one side. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    settings: Settings,
    packing: Packing,
    /// The service's URL, where it is not the region's own.
    endpoint: Option<String>,
    capabilities: Capabilities,
    clock: ServiceClock,
    direct: Direct,
}

impl S3Store {
    /// Creates the store of a job's side. Sends no request.
    ///
    /// `settings` apply to every object written. Each request is sent once; retries are up to the caller. `congestion`
    /// is the TCP congestion control of its connections; `None` leaves the node's default.
    pub async fn new(side: &S3Side, settings: &WriteSettings, which: Service, congestion: Option<Algorithm>) -> Self {
        let reach = Reach::of_side(side, congestion);
        Self::through(&Access::from(&side.service), &reach, side.path_style, settings, which).await
    }

    /// As [`new`](Self::new), with other credentials than those that the side names.
    pub async fn with_credentials(
        side: &S3Side,
        credentials: CredentialSource,
        settings: &WriteSettings,
        which: Service,
        congestion: Option<Algorithm>,
    ) -> Self {
        let access = Access { credentials, ..Access::from(&side.service) };
        let reach = Reach::of_side(side, congestion);
        Self::through(&access, &reach, side.path_style, settings, which).await
    }

    /// Creates a store with the given access, reached as the environment says.
    pub async fn with_access(access: &Access, path_style: bool, settings: &WriteSettings, which: Service) -> Self {
        Self::through(access, &Reach::default(), path_style, settings, which).await
    }

    /// Creates a store with the given access and network path.
    pub async fn through(
        access: &Access,
        reach: &Reach,
        path_style: bool,
        settings: &WriteSettings,
        which: Service,
    ) -> Self {
        let clock = ServiceClock::default();
        let mut config = Builder::from(&sdk::load_through(access, reach).await)
            .force_path_style(path_style)
            .interceptor(clock.clone())
            .interceptor(StripHeaders)
            .interceptor(WholeDocuments)
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
        Self {
            client: Client::from_conf(config.build()),
            settings: settings.into(),
            packing: Packing::default(),
            endpoint: access.endpoint.clone(),
            capabilities: capabilities::capabilities(access.endpoint.as_deref(), settings),
            clock,
            direct: Direct::new(reach.requests == Requests::Auto),
        }
    }

    /// Replaces the client's time-out of an attempt for one request.
    fn within(attempt: Duration) -> Builder {
        Builder::new().timeout_config(sdk::timeouts(attempt))
    }
}

/// Ends an endpoint with exactly one slash: the SDK's endpoint rules append the bucket's name as it is.
fn with_slash(endpoint: &str) -> String {
    format!("{}/", endpoint.trim_end_matches('/'))
}

impl ObjectStore for S3Store {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn clock_offset(&self) -> Option<i64> {
        self.clock.offset()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        capabilities::abort_command(self.endpoint.as_deref(), upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        list::objects(self, request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        versions::newest(self, request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        read::get(self, request).await
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        read::head(self, request).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        tags::get(&self.client, bucket, key, version_id).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        tags::put(&self.client, request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        write::put(self, request).await
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
        part::put_part(self, request).await
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

impl BucketAdmin for S3Store {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        bucket::notifications(&self.client, bucket).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        bucket::put_notifications(&self.client, bucket, config).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        bucket::keeps_versions(&self.client, bucket).await
    }
}

#[cfg(test)]
#[path = "s3"]
mod by_sdk {
    pub(super) const REQUESTS: crate::http::Requests = crate::http::Requests::Sdk;

    #[path = "tests/mod.rs"]
    mod tests;
}

#[cfg(test)]
#[path = "s3"]
#[expect(clippy::duplicate_mod, reason = "both ways of sending requests pass the same tests")]
mod sent_directly {
    pub(super) const REQUESTS: crate::http::Requests = crate::http::Requests::Auto;

    #[path = "tests/mod.rs"]
    mod tests;
}
