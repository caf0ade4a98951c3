//! Settings of every object that a store writes.

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
use aws_smithy_types::date_time::DateTimeFormatError;
use migration_core::config::{Encryption, WriteSettings};
use migration_core::ports::Attributes;

/// [`WriteSettings`] as SDK types.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    storage_class: Option<StorageClass>,
    /// Encryption at rest; `None` for the bucket's default.
    pub encryption: Option<ServerSideEncryption>,
    /// KMS key; `None` for the account's default key.
    pub kms_key_id: Option<String>,
    /// Canned ACL.
    pub acl: Option<ObjectCannedAcl>,
}

impl Settings {
    /// Returns the headers of an object's storage class, encryption, ACL and lock, as the SDK writes them.
    ///
    /// # Errors
    ///
    /// The date of a lock can't be written.
    pub(super) fn headers(&self, attributes: &Attributes) -> Result<Vec<(&'static str, String)>, DateTimeFormatError> {
        let lock = &attributes.lock;
        let until = lock.retention.map(|retention| DateTime::from_millis(retention.until));
        let until = until.map(|until| until.fmt(DateTimeFormat::DateTimeWithOffset)).transpose()?;
        let mode = lock.retention.map(|retention| lock_mode(retention.mode).as_str().to_owned());
        let headers = [
            ("x-amz-storage-class", self.storage_class(attributes).map(|class| class.as_str().to_owned())),
            ("x-amz-server-side-encryption", self.encryption.as_ref().map(|kind| kind.as_str().to_owned())),
            ("x-amz-server-side-encryption-aws-kms-key-id", self.kms_key_id.clone()),
            ("x-amz-acl", self.acl.as_ref().map(|acl| acl.as_str().to_owned())),
            ("x-amz-website-redirect-location", attributes.website_redirect.clone()),
            ("x-amz-object-lock-mode", mode),
            ("x-amz-object-lock-retain-until-date", until),
            ("x-amz-object-lock-legal-hold", lock.legal_hold.then(|| "ON".to_owned())),
        ];
        Ok(headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }

    /// Returns the storage class to write: the setting, otherwise the object's own.
    pub(super) fn storage_class(&self, attributes: &Attributes) -> Option<StorageClass> {
        let of_object = || attributes.storage_class.as_deref().map(StorageClass::from);
        self.storage_class.clone().or_else(of_object)
    }
}

impl From<&WriteSettings> for Settings {
    fn from(settings: &WriteSettings) -> Self {
        let (encryption, kms_key_id) = match &settings.encryption {
            None => (None, None),
            Some(Encryption::S3) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { kms_key_id }) => (Some(ServerSideEncryption::AwsKms), kms_key_id.clone()),
            Some(Encryption::DualKms { kms_key_id }) => (Some(ServerSideEncryption::AwsKmsDsse), kms_key_id.clone()),
        };
        Self {
            storage_class: settings.storage_class.as_deref().map(StorageClass::from),
            encryption,
            kms_key_id,
            acl: settings.acl.as_deref().map(ObjectCannedAcl::from),
        }
    }
}

/// Sets storage class, encryption, ACL and object lock; the same on all three requests that create an object.
macro_rules! with_settings {
    ($request:expr, $attributes:expr, $settings:expr) => {{
        let (attributes, settings): (&migration_core::ports::Attributes, &$crate::s3::settings::Settings) =
            ($attributes, $settings);
        let retention = attributes.lock.retention;
        $request
            .set_storage_class(settings.storage_class(attributes))
            .set_server_side_encryption(settings.encryption.clone())
            .set_ssekms_key_id(settings.kms_key_id.clone())
            .set_acl(settings.acl.clone())
            .set_website_redirect_location(attributes.website_redirect.clone())
            .set_object_lock_mode(retention.map(|retention| $crate::s3::settings::lock_mode(retention.mode)))
            .set_object_lock_retain_until_date(
                retention.map(|retention| aws_sdk_s3::primitives::DateTime::from_millis(retention.until)),
            )
            .set_object_lock_legal_hold_status(
                attributes.lock.legal_hold.then_some(aws_sdk_s3::types::ObjectLockLegalHoldStatus::On),
            )
    }};
}
pub(super) use with_settings;

/// Converts a retention mode to the SDK's type.
pub(super) fn lock_mode(mode: migration_core::ports::RetentionMode) -> aws_sdk_s3::types::ObjectLockMode {
    use aws_sdk_s3::types::ObjectLockMode;
    use migration_core::ports::RetentionMode;
    match mode {
        RetentionMode::Governance => ObjectLockMode::Governance,
        RetentionMode::Compliance => ObjectLockMode::Compliance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_has_the_names_of_the_header() {
        let key = || Some("key-1".to_owned());
        for (encryption, expected) in [
            (None, (None, None)),
            (Some(Encryption::S3), (Some("AES256"), None)),
            (Some(Encryption::Kms { kms_key_id: key() }), (Some("aws:kms"), key())),
            (Some(Encryption::Kms { kms_key_id: None }), (Some("aws:kms"), None)),
            (Some(Encryption::DualKms { kms_key_id: key() }), (Some("aws:kms:dsse"), key())),
        ] {
            let settings = Settings::from(&WriteSettings { encryption, ..WriteSettings::default() });
            let found = (settings.encryption.as_ref().map(ServerSideEncryption::as_str), settings.kms_key_id);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_settings_storage_class_goes_before_the_objects() {
        let attributes = Attributes { storage_class: Some("STANDARD_IA".into()), ..Attributes::default() };
        for (setting, expected) in [(None, "STANDARD_IA"), (Some("GLACIER_IR".to_owned()), "GLACIER_IR")] {
            let settings = Settings::from(&WriteSettings { storage_class: setting, ..WriteSettings::default() });
            assert_eq!(settings.storage_class(&attributes).unwrap().as_str(), expected);
        }
        assert_eq!(Settings::default().storage_class(&Attributes::default()), None);
    }
}
