//! Records of the index, as JSON.

use std::collections::BTreeMap;

use migration_core::etag::{ETag, Md5Digest};
use migration_core::events::NotificationConfig;
use migration_core::ports::{Attributes, Checksum, ObjectLock, Retention, RetentionMode, Tags};
use serde::{Deserialize, Serialize};

use super::content::{Content, Place};
use super::object::StoredObject;
use super::receive::Received;
use super::settings::{BucketSettings, Versioning};
use super::state::Bucket;
use super::upload::{Part, Upload};
use super::versions::Version;

/// Makes a content of its places.
pub(super) type Open<'a> = &'a dyn Fn(&[Place]) -> Result<Content, String>;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Attributes")]
struct AttributesRecord {
    content_type: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_disposition: Option<String>,
    cache_control: Option<String>,
    expires: Option<String>,
    website_redirect: Option<String>,
    metadata: BTreeMap<String, String>,
    missing_metadata: u32,
    storage_class: Option<String>,
    #[serde(with = "LockRecord")]
    lock: ObjectLock,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ObjectLock")]
struct LockRecord {
    #[serde(with = "retention")]
    retention: Option<Retention>,
    legal_hold: bool,
}

/// A retention as a pair: whether all are bound, and its end.
mod retention {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Retention, RetentionMode, Serialize};

    #[expect(clippy::ref_option, reason = "the form of serde")]
    pub(super) fn serialize<S: Serializer>(retention: &Option<Retention>, serializer: S) -> Result<S::Ok, S::Error> {
        retention.map(|found| (found.mode == RetentionMode::Compliance, found.until)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Retention>, D::Error> {
        let found = Option::<(bool, i64)>::deserialize(deserializer)?;
        Ok(found.map(|(binds_all, until)| {
            let mode = if binds_all { RetentionMode::Compliance } else { RetentionMode::Governance };
            Retention { mode, until }
        }))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BucketRecord {
    /// Whether versions are kept; `None` if they never were.
    versioning: Option<bool>,
    opaque_etags: bool,
    object_lock: bool,
    storage_classes: Option<Vec<String>>,
    unknown_headers: Vec<String>,
    quiet_of_tags: bool,
    created: i64,
    #[serde(default)]
    notifications: NotificationConfig,
}

impl BucketRecord {
    pub(super) fn of(bucket: &Bucket) -> Self {
        let settings = &bucket.settings;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Self {
            versioning: match settings.versioning {
                Versioning::Off => None,
                Versioning::Enabled => Some(true),
                Versioning::Suspended => Some(false),
            },
            opaque_etags: settings.opaque_etags,
            object_lock: settings.object_lock,
            storage_classes: settings.storage_classes.map(owned),
            unknown_headers: owned(settings.unknown_headers),
            quiet_of_tags: settings.quiet_of_tags,
            created: bucket.created,
            notifications: bucket.notifications.clone(),
        }
    }

    /// Returns settings, time of creation and notification configuration. Lists of names live as long as the program, as those in its code do.
    pub(super) fn read(self) -> (BucketSettings, i64, NotificationConfig) {
        let leaked = |names: Vec<String>| -> &'static [&'static str] {
            let names: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
            names.leak()
        };
        let settings = BucketSettings {
            versioning: match self.versioning {
                None => Versioning::Off,
                Some(true) => Versioning::Enabled,
                Some(false) => Versioning::Suspended,
            },
            opaque_etags: self.opaque_etags,
            object_lock: self.object_lock,
            storage_classes: self.storage_classes.map(leaked),
            unknown_headers: leaked(self.unknown_headers),
            quiet_of_tags: self.quiet_of_tags,
        };
        (settings, self.created, self.notifications)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionRecord {
    id: Option<String>,
    modified: i64,
    object: Option<ObjectRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRecord {
    places: Vec<Place>,
    etag: ETag,
    etag_is_md5: bool,
    #[serde(with = "AttributesRecord")]
    attributes: Attributes,
    tags: Tags,
    parts: Vec<u64>,
    checksum: Option<Checksum>,
    restored: bool,
    md5: Option<Md5Digest>,
}

impl VersionRecord {
    pub(super) fn of(version: &Version) -> Self {
        let object = version.object.as_ref().map(|object| ObjectRecord {
            places: object.content.places(),
            etag: object.etag.clone(),
            etag_is_md5: object.etag_is_md5,
            attributes: object.attributes.clone(),
            tags: object.tags.clone(),
            parts: object.parts.clone(),
            checksum: object.checksum,
            restored: object.restored,
            md5: object.md5,
        });
        Self { id: version.id.clone(), modified: version.modified, object }
    }

    pub(super) fn read(self, number: u64, open: Open<'_>) -> Result<Version, String> {
        let Self { id, modified, object } = self;
        let object = object.map(|object| {
            Ok::<_, String>(StoredObject {
                content: open(&object.places)?,
                etag: object.etag,
                etag_is_md5: object.etag_is_md5,
                version_id: id.clone(),
                modified,
                attributes: object.attributes,
                tags: object.tags,
                parts: object.parts,
                checksum: object.checksum,
                restored: object.restored,
                md5: object.md5,
            })
        });
        Ok(Version { number, modified, object: object.transpose()?, id })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadRecord {
    key: String,
    #[serde(with = "AttributesRecord")]
    attributes: Attributes,
    tags: Tags,
    checksum: bool,
    initiator: String,
    initiated: i64,
}

impl UploadRecord {
    pub(super) fn of(upload: &Upload) -> Self {
        Self {
            key: upload.key.clone(),
            attributes: upload.attributes.clone(),
            tags: upload.tags.clone(),
            checksum: upload.checksum,
            initiator: upload.initiator.clone(),
            initiated: upload.initiated,
        }
    }

    /// Returns the upload, without its parts.
    pub(super) fn read(self, number: u64) -> Upload {
        Upload {
            key: self.key,
            attributes: self.attributes,
            tags: self.tags,
            checksum: self.checksum,
            parts: BTreeMap::new(),
            number,
            initiator: self.initiator,
            initiated: self.initiated,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartRecord {
    places: Vec<Place>,
    md5: Md5Digest,
    /// CRC-64/NVME of the bytes.
    crc64nvme: Checksum,
    etag: ETag,
    has_checksum: bool,
}

impl PartRecord {
    pub(super) fn of(part: &Part) -> Self {
        Self {
            places: part.received.content.places(),
            md5: part.received.md5,
            crc64nvme: part.received.checksum,
            etag: part.etag.clone(),
            has_checksum: part.checksum.is_some(),
        }
    }

    pub(super) fn read(self, open: Open<'_>) -> Result<Part, String> {
        let received = Received { content: open(&self.places)?, md5: self.md5, checksum: self.crc64nvme };
        let checksum = self.has_checksum.then_some(self.crc64nvme);
        Ok(Part { received, etag: self.etag, checksum })
    }
}
