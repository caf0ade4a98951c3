//! A store on disk that is closed and opened again in the middle of everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use migration_core::error::ServiceError;
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    BucketAdmin, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart,
    PutRequest, PutTags, Tags, UploadRef, Written,
};
use migration_local::store::{BucketSettings, LocalStore};
use migration_testkit::conformance::{BucketOwner, Failure};
use tokio::sync::RwLock;

/// Requests between two openings.
const EVERY: usize = 7;

/// A store that is opened again before every few requests, so that it knows only what is on the disk.
#[derive(Clone)]
pub struct Reopening {
    directory: Arc<PathBuf>,
    store: Arc<RwLock<Option<LocalStore>>>,
    requests: Arc<AtomicUsize>,
}

impl Reopening {
    pub fn new(directory: PathBuf) -> Self {
        let store = super::open(&directory);
        Self { directory: Arc::new(directory), store: Arc::new(RwLock::new(Some(store))), requests: Arc::default() }
    }

    /// Runs a request on the store, and before it, every few times, opens it again.
    async fn with<T>(&self, request: impl AsyncFnOnce(&LocalStore) -> T) -> T {
        if self.requests.fetch_add(1, Ordering::SeqCst) % EVERY == EVERY - 1 {
            let mut store = self.store.write().await;
            *store = None;
            *store = Some(super::open(&self.directory));
        }
        request(self.store.read().await.as_ref().unwrap()).await
    }

    pub async fn create_bucket(&self, name: &str, settings: BucketSettings) {
        self.with(async |store| store.create_bucket(name, settings)).await;
    }
}

impl ObjectStore for Reopening {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        upload.upload_id.to_owned()
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.with(async |store| store.list(request).await).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.with(async |store| store.list_versions(request).await).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        self.with(async |store| store.get(request).await).await
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        self.with(async |store| store.head(request).await).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.with(async |store| store.tags(bucket, key, version_id).await).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.with(async |store| store.put_tags(request).await).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        self.with(async |store| store.put(request).await).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        self.with(async |store| store.copy(request).await).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        self.with(async |store| ObjectStore::delete(store, request).await).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        self.with(async |store| store.create_upload(request).await).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        self.with(async |store| store.put_part(request).await).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        self.with(async |store| store.copy_part(request).await).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        self.with(async |store| store.list_parts(upload, after).await).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        self.with(async |store| store.complete_upload(request).await).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.with(async |store| store.abort_upload(upload).await).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.with(async |store| store.list_uploads(bucket, key).await).await
    }
}

impl BucketOwner for Reopening {
    async fn set_versioning(&self, bucket: &str, enabled: bool) -> Result<(), Failure> {
        self.with(async |store| BucketOwner::set_versioning(store, bucket, enabled).await).await
    }

    async fn new_locked_bucket(&self) -> Result<String, Failure> {
        self.with(async |store| BucketOwner::new_locked_bucket(store).await).await
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<Option<String>, Failure> {
        self.with(async |store| BucketOwner::delete(store, bucket, key).await).await
    }

    async fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> Result<(), Failure> {
        self.with(async |store| BucketOwner::delete_version(store, bucket, key, version_id).await).await
    }
}

impl BucketAdmin for Reopening {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        self.with(async |store| store.notifications(bucket).await).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        self.with(async |store| store.put_notifications(bucket, config).await).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        self.with(async |store| store.keeps_versions(bucket).await).await
    }
}
