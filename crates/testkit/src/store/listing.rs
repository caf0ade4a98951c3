//! Listings of keys and versions.

use migration_core::error::ServiceError;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest};

use super::checks::{refused, whole_seconds};
use super::object::StoredObject;
use super::state::Bucket;
use super::versions::Versions;
use crate::Operation;

/// Prefix of continuation tokens, so that no caller can use one as a key.
const TOKEN: &str = "page-after:";
/// Prefix of continuation tokens of versions. The number of listed versions of the key follows, then a colon.
const VERSION_TOKEN: &str = "versions-after:";

fn bad_token(operation: Operation) -> ServiceError {
    refused(operation, "InvalidArgument", "the continuation token provided is incorrect")
}

impl Bucket {
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Versions)> {
        self.objects.iter().filter(move |(key, _)| key.starts_with(prefix))
    }

    pub(super) fn list(&self, request: ListRequest<'_>, page: usize) -> Result<ListPage, ServiceError> {
        let after = match request.continuation {
            Some(token) => Some(token.strip_prefix(TOKEN).ok_or_else(|| bad_token(Operation::ListObjects))?),
            None => request.start_after,
        };
        let mut found = self
            .under(request.prefix)
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .filter_map(|(key, versions)| Some((key, versions.current()?)));
        let objects: Vec<ListedObject> = found
            .by_ref()
            .take(page.max(1))
            .map(|(key, object)| ListedObject { version_id: None, ..listed(key, object) })
            .collect();
        let more = found.next().is_some();
        let continuation = objects.last().filter(|_| more).map(|last| format!("{TOKEN}{}", last.key));
        Ok(ListPage { objects, continuation })
    }

    /// Lists a page of versions. Old versions and delete markers count too, so a page may show no object.
    /// Source: `ListObjectVersions` in the S3 API reference.
    pub(super) fn list_versions(&self, request: ListRequest<'_>, page: usize) -> Result<ListPage, ServiceError> {
        let (after, skip) = match request.continuation {
            Some(token) => {
                let (seen, key) = version_token(token).ok_or_else(|| bad_token(Operation::ListVersions))?;
                (Some(key), seen)
            }
            None => (request.start_after, usize::MAX),
        };
        let mut found = self.under(request.prefix).flat_map(|(key, versions)| {
            versions.newest_first().enumerate().map(move |(place, version)| (key, place, version))
        });
        let mut rest = found.by_ref().filter(|(key, place, _)| {
            after.is_none_or(|after| key.as_str() > after || (key.as_str() == after && *place >= skip))
        });
        let shown: Vec<_> = rest.by_ref().take(page.max(1)).collect();
        let more = rest.next().is_some();
        let last = shown.last().filter(|_| more);
        let continuation = last.map(|(key, place, _)| format!("{VERSION_TOKEN}{}:{key}", place + 1));
        let newest = shown.iter().filter(|(_, place, _)| *place == 0);
        let objects = newest.filter_map(|(key, _, version)| Some(listed(key, version.object.as_ref()?))).collect();
        Ok(ListPage { objects, continuation })
    }
}

fn version_token(token: &str) -> Option<(usize, &str)> {
    let (seen, key) = token.strip_prefix(VERSION_TOKEN)?.split_once(':')?;
    Some((seen.parse().ok()?, key))
}

fn listed(key: &str, object: &StoredObject) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        size: object.size(),
        etag: Some(object.etag.clone()),
        modified: whole_seconds(object.modified),
        version_id: object.version_id.clone(),
        storage_class: object.attributes.storage_class.clone(),
    }
}
