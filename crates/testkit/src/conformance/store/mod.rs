//! Conformance suite of [`ObjectStore`].

mod checksums;
mod completion;
mod copies;
mod deletion;
mod keys;
mod listing;
mod locks;
mod objects;
mod owner;
mod spans;
mod streams;
mod uploads;
mod versions;

use std::ops::AsyncFn;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use md5::{Digest, Md5};
use migration_core::error::ServiceError;
use migration_core::etag::{ETag, Md5Digest};
use migration_core::object::ListedObject;
use migration_core::ports::{
    Attributes, Body, CompleteUpload, CompletedPart, CreateUpload, GetRequest, GetResponse, HeadRequest, ListRequest,
    ObjectHead, ObjectStore, PutPart, PutRequest, Span, Tags, UploadRef, WriteCondition, Written,
};

use super::report::{Deviation, Failure, Report};
use super::{ensure, run_cases};

pub use keys::{ODD_KEYS, odd_keys};
pub use owner::{BucketOwner, OwnedBucket, version_suite};

/// A store and an empty bucket in it.
pub struct StoreUnderTest<S> {
    /// Implementation under test.
    pub store: S,
    /// Name of an existing, empty bucket.
    pub bucket: String,
}

/// Runs all cases, each on a bucket from `make`.
pub async fn store_suite<S: ObjectStore>(
    make: impl AsyncFn() -> Result<StoreUnderTest<S>, Failure>,
    deviations: &[Deviation],
) -> Report {
    let mut report = Report::new("store", deviations);
    run_cases!(
        report,
        make,
        [
            keys::odd_keys_survive,
            keys::odd_keys_take_uploads,
            keys::keys_beyond_xml_take_uploads,
            keys::keys_over_1024_bytes_are_refused,
            keys::what_is_missing_is_told_apart,
            listing::an_empty_bucket_lists_nothing,
            listing::keys_come_in_byte_order,
            listing::a_listing_tells_storage_classes,
            listing::a_prefix_is_plain_text,
            listing::listing_starts_after_a_key,
            listing::a_page_has_no_more_keys_than_asked_for,
            listing::pages_hold_every_key_once,
            objects::what_is_put_is_got,
            objects::a_large_body_comes_whole,
            objects::a_second_put_replaces_the_first,
            objects::ranges_are_clamped,
            objects::a_range_beyond_the_end_is_refused,
            objects::a_get_can_ask_for_one_content,
            objects::a_put_can_ask_for_absence,
            objects::a_put_can_ask_for_one_content,
            objects::attributes_travel_along,
            objects::tags_travel_along,
            objects::tags_are_given_afterwards,
            objects::a_body_with_another_md5_is_refused,
            objects::an_unknown_storage_class_is_refused,
            objects::a_lock_needs_a_bucket_that_takes_it,
            objects::archived_objects_are_seen_and_not_read,
            deletion::a_deleted_object_is_gone,
            deletion::deleting_nothing_changes_nothing,
            deletion::a_deletion_can_ask_for_one_content,
            spans::parts_are_read_as_they_were_uploaded,
            spans::an_object_put_whole_is_its_own_part_one,
            spans::the_length_of_a_body_is_told,
            copies::a_copy_takes_everything_along,
            copies::a_copy_has_the_storage_class_asked_for,
            copies::only_the_content_asked_for_is_copied,
            copies::a_copy_of_nothing_is_told_apart,
            copies::a_copy_has_the_etag_of_its_content,
            copies::a_copy_can_ask_for_absence,
            copies::a_copy_can_ask_for_one_content,
            copies::parts_are_copied_from_ranges,
            copies::only_parts_of_the_content_asked_for_are_copied,
            copies::a_part_beyond_the_source_is_not_copied,
            uploads::parts_become_an_object,
            uploads::tags_of_uploads_travel_along,
            uploads::a_part_sent_again_replaces_the_first,
            uploads::a_part_with_another_md5_is_refused,
            uploads::pages_of_parts_hold_every_part_once,
            uploads::uploads_of_exactly_one_key_are_listed,
            uploads::an_aborted_upload_is_gone,
            uploads::a_completed_upload_is_gone,
            completion::chosen_parts_are_enough,
            completion::a_wrong_etag_is_refused,
            completion::a_wrong_order_is_refused,
            completion::an_empty_list_is_refused,
            completion::small_parts_are_refused,
            completion::completion_can_ask_for_absence,
            completion::completion_can_ask_for_one_content,
            streams::a_streamed_part_arrives_whole,
            streams::an_empty_streamed_part_is_a_part,
            streams::a_stream_that_breaks_stores_nothing,
            streams::a_stream_that_ends_early_stores_nothing,
            streams::a_stream_with_too_many_bytes_stores_nothing,
            checksums::checksums_of_parts_become_that_of_the_object,
            checksums::a_checksum_that_is_told_of_a_put_is_right,
            checksums::completion_names_every_checksum,
            checksums::a_wrong_checksum_of_a_part_is_refused,
            checksums::a_checksum_that_was_not_announced_is_refused,
            checksums::a_part_brings_the_checksum_announced,
        ]
    );
    report
}

fn md5(content: &[u8]) -> Md5Digest {
    Md5::digest(content).into()
}

fn held(content: &Bytes) -> Body {
    Body::Held { bytes: content.clone(), md5: md5(content) }
}

/// Returns bytes with a period of 251, which reveals pieces in the wrong order.
fn content(size: usize) -> Bytes {
    (0_u8..251).cycle().take(size).collect()
}

async fn read(response: GetResponse) -> Result<Bytes, ServiceError> {
    let pieces = response.body.try_fold(BytesMut::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    Ok(pieces.await?.freeze())
}

/// Requests on the bucket, with defaults.
impl<S: ObjectStore> StoreUnderTest<S> {
    async fn put(&self, key: &str, body: impl Into<Bytes>) -> Result<Written, ServiceError> {
        self.put_if(key, body, &WriteCondition::Any).await
    }

    async fn put_if(
        &self,
        key: &str,
        body: impl Into<Bytes>,
        condition: &WriteCondition,
    ) -> Result<Written, ServiceError> {
        self.put_with(key, body, &Attributes::default(), &Tags::new(), condition).await
    }

    async fn put_with(
        &self,
        key: &str,
        body: impl Into<Bytes>,
        attributes: &Attributes,
        tags: &Tags,
        condition: &WriteCondition,
    ) -> Result<Written, ServiceError> {
        let body = body.into();
        let md5 = md5(&body);
        self.store.put(PutRequest { bucket: &self.bucket, key, body, md5, attributes, tags, condition }).await
    }

    fn get_request<'a>(&'a self, key: &'a str) -> GetRequest<'a> {
        GetRequest { bucket: &self.bucket, key, span: Span::Whole, if_match: None, version_id: None }
    }

    async fn get(&self, key: &str) -> Result<GetResponse, ServiceError> {
        self.store.get(self.get_request(key)).await
    }

    async fn content(&self, key: &str) -> Result<Bytes, ServiceError> {
        read(self.get(key).await?).await
    }

    fn list_request(&self) -> ListRequest<'_> {
        ListRequest { bucket: &self.bucket, prefix: "", start_after: None, continuation: None, max_keys: None }
    }

    /// Reads all pages of a listing.
    async fn pages(&self, request: ListRequest<'_>) -> Result<Vec<Vec<ListedObject>>, Failure> {
        let mut pages = Vec::new();
        let mut continuation = None;
        loop {
            let page = self.store.list(ListRequest { continuation: continuation.as_deref(), ..request }).await?;
            pages.push(page.objects);
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(pages);
            }
            ensure!(pages.len() < 100, "the listing does not end");
        }
    }

    async fn listed_keys(&self, request: ListRequest<'_>) -> Result<Vec<String>, Failure> {
        Ok(self.pages(request).await?.concat().into_iter().map(|object| object.key).collect())
    }

    async fn create(&self, key: &str) -> Result<String, ServiceError> {
        self.create_with(key, false).await
    }

    async fn create_with(&self, key: &str, checksum: bool) -> Result<String, ServiceError> {
        let (attributes, tags) = (Attributes::default(), Tags::new());
        let request = CreateUpload { bucket: &self.bucket, key, attributes: &attributes, tags: &tags, checksum };
        self.store.create_upload(request).await
    }

    fn upload<'a>(&'a self, key: &'a str, upload_id: &'a str) -> UploadRef<'a> {
        UploadRef { bucket: &self.bucket, key, upload_id }
    }

    async fn part(&self, upload: UploadRef<'_>, number: u32, body: &Bytes) -> Result<ETag, ServiceError> {
        let part = PutPart { upload, number, body: held(body), checksum: false };
        Ok(self.store.put_part(part).await?.etag)
    }

    /// Completes an upload created without a checksum.
    async fn complete(
        &self,
        upload: UploadRef<'_>,
        parts: &[(u32, ETag)],
        condition: &WriteCondition,
    ) -> Result<Written, ServiceError> {
        let parts: Vec<CompletedPart> = parts
            .iter()
            .map(|(number, etag)| CompletedPart { number: *number, etag: etag.clone(), checksum: None })
            .collect();
        self.store.complete_upload(CompleteUpload { upload, parts: &parts, condition }).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, ServiceError> {
        self.store.head(HeadRequest::new(&self.bucket, key)).await
    }
}
