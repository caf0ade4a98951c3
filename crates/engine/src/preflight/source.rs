//! The checks of the source: list, read, tags, versions.

use migration_core::error::{Service, ServiceError};
use migration_core::operation::Operation;
use migration_core::ports::{GetRequest, ListRequest, ListedObject, ObjectHead, ObjectStore, Span};
use migration_core::preflight::{Finding, Purpose, Shortcoming};

use super::Check;
use crate::Services;
use crate::repeat::repeated;

/// Storage classes whose objects can't be read before they are restored.
/// Source: "Working with archived objects" in the S3 user guide.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

impl<P: Services> Check<'_, P> {
    pub(super) async fn source(&self) -> Vec<Finding> {
        let listed = match self.list().await {
            Ok(listed) => listed,
            Err((operation, error)) => {
                return self.found(self.purpose_of_listing(), operation, None, &error).into_iter().collect();
            }
        };
        let tried: Vec<&ListedObject> = self.sample(&listed);
        let (mut denied, mut read) = (Vec::new(), None);
        for object in &tried {
            match self.read(object).await {
                Ok(head) => read = Some((*object, head)),
                Err(error) => denied.extend(self.found(Purpose::Read, Operation::GetObject, Some(&object.key), &error)),
            }
        }
        let mut found = denied;
        if let Some((object, head)) = &read {
            found.extend(self.tags(object, head).await);
            found.extend(self.versions(head));
        }
        found
    }

    /// Returns the first page of the listing, as a scan requests it.
    async fn list(&self) -> Result<Vec<ListedObject>, (Operation, ServiceError)> {
        let (store, range) = (&self.process.ports.source, self.range);
        let request = ListRequest {
            bucket: &range.bucket,
            prefix: &range.prefix,
            start_after: None,
            continuation: None,
            max_keys: None,
        };
        let with_versions = self.process.config.versioning.compare_version_id && self.process.config.manifest.is_none();
        let (operation, page) = if with_versions {
            (Operation::ListVersions, repeated(|| store.list_versions(request)).await)
        } else {
            (Operation::ListObjects, repeated(|| store.list(request)).await)
        };
        page.map(|page| page.objects).map_err(|error| (operation, error))
    }

    /// Returns the first, the middle and the last of the objects that the job would read.
    fn sample<'o>(&self, listed: &'o [ListedObject]) -> Vec<&'o ListedObject> {
        let (config, bucket) = (&self.process.config, &self.range.bucket);
        let is_read = |object: &&ListedObject| {
            let class = object.storage_class.as_deref();
            !config.ignore_list().ignores(bucket, &object.key)
                && config.filter.keeps(object.size, object.modified, class)
                && !class.is_some_and(|class| ARCHIVES.contains(&class))
        };
        let kept: Vec<&ListedObject> = listed.iter().filter(is_read).collect();
        let last = kept.len().saturating_sub(1);
        let mut places = vec![0, last / 2, last];
        places.dedup();
        places.into_iter().filter_map(|place| kept.get(place).copied()).collect()
    }

    /// Reads the first byte of an object.
    async fn read(&self, object: &ListedObject) -> Result<ObjectHead, ServiceError> {
        let store = &self.process.ports.source;
        let versions = self.process.config.versioning.get_object_with_version_id;
        let request = GetRequest {
            bucket: &self.range.bucket,
            key: &object.key,
            // An empty object has no range.
            span: if object.size == 0 { Span::Whole } else { Span::Range { offset: 0, len: 1 } },
            if_match: None,
            version_id: object.version_id.as_deref().filter(|_| versions),
        };
        repeated(|| store.get(request)).await.map(|response| response.head)
    }

    /// Asks for the tags of an object that can be read.
    async fn tags(&self, object: &ListedObject, head: &ObjectHead) -> Option<Finding> {
        if !self.process.config.transfer.preserve.tags {
            return None;
        }
        let (store, key) = (&self.process.ports.source, &object.key);
        let asked = repeated(|| store.tags(&self.range.bucket, key, head.version_id.as_deref())).await;
        let finding = self.found(Purpose::Tags, Operation::GetTags, Some(key), &asked.err()?)?;
        let advice = "objects are copied without their tags; if that is meant, set spec.transfer.preserve.tags: false";
        Some(Finding { message: format!("{}; {advice}", finding.message.trim_end_matches('.')), ..finding })
    }

    /// Looks whether the bucket keeps the versions that the job uses.
    fn versions(&self, head: &ObjectHead) -> Option<Finding> {
        if self.process.config.versioning.is_default() || head.version_id.is_some() {
            return None;
        }
        let message = "spec.versioning uses versions, and this object has none: enable versioning of the bucket";
        let (problem, operation) = (Shortcoming::Unversioned, Operation::GetObject);
        Some(Finding::new(Service::Source, problem, operation, self.arn(None), message))
    }
}
