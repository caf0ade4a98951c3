//! Rules of keys: each is returned exactly as given.

use std::collections::BTreeSet;

use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::ports::{
    Attributes, CreateUpload, GetRequest, ListRequest, ObjectStore, PutPart, PutRequest, Tags, UploadRef,
    WriteCondition,
};

use super::{StoreUnderTest, held, md5};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_class, ensure_eq};

/// Keys that some software decodes, normalises, trims or loses. [`odd_keys`] adds those of 1,024 bytes.
pub const ODD_KEYS: &[&str] = &[
    "plain.txt",
    "with space",
    " leading and trailing space ",
    "plus+plus",
    "percent%41",
    "percent%2Fslash",
    "percent%",
    "amp&amp;",
    "hash#fragment",
    "query?versionId=x",
    "semi;colon:comma,equals=at@dollar$",
    "quotes'\"`",
    "brackets<>[]{}()",
    "back\\slash|pipe^tilde~star*bang!",
    "caf\u{e9}",
    "cafe\u{301}",
    "日本語/ファイル",
    "emoji \u{1f600}\u{200d}\u{1f525}",
    "\u{ffff}after the surrogates in UTF-16",
    "\u{202e}right to left",
    "double//slash",
    "dir/./file",
    "dir/../file",
    "..",
    ".",
    "../up",
    "/leading slash",
    "//two leading slashes",
    "trailing slash/",
    "two trailing slashes//",
    "a",
    "a/",
    "a/b",
    "Case",
    "case",
    "new\nline",
    "carriage\rreturn",
    "tab\there",
    "control \u{1}\u{1f}\u{7f}",
    "-dash",
    "soap?wsdl",
];

/// Returns [`ODD_KEYS`] and two keys of 1,024 bytes.
pub fn odd_keys() -> Vec<String> {
    let ascii = format!("long/{}", "x".repeat(1_024 - 5));
    let wide = format!("{}日", "é/".repeat(340)).chars().chain(['y']).collect::<String>();
    ODD_KEYS.iter().map(|key| (*key).to_owned()).chain([ascii, wide]).collect()
}

pub(super) async fn odd_keys_survive<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let keys = odd_keys();
    for key in &keys {
        t.put(key, key.clone().into_bytes()).await?;
    }
    let expected: BTreeSet<String> = keys.iter().cloned().collect();
    let listed: BTreeSet<String> = t.listed_keys(t.list_request()).await?.into_iter().collect();
    let lost: Vec<_> = expected.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&expected).collect();
    ensure!(lost.is_empty() && invented.is_empty(), "not listed: {lost:?}; listed and never put: {invented:?}");
    for key in &keys {
        ensure_eq!(t.content(key).await?, Bytes::from(key.clone()), "content of {key:?}");
        let head = t.head(key).await?;
        ensure_eq!(head.map(|head| head.size), Some(key.len() as u64), "size of {key:?} in its head");
        let tags = t.store.tags(&t.bucket, key, None).await?;
        ensure!(tags.is_empty(), "{key:?} has tags that nobody gave: {tags:?}");
        let found = t.listed_keys(ListRequest { prefix: key, ..t.list_request() }).await?;
        ensure!(found.contains(key), "{key:?} is not listed under itself as prefix");
    }
    Ok(())
}

pub(super) async fn odd_keys_take_uploads<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for key in odd_keys().iter().filter(|key| !key.chars().any(is_beyond_xml)) {
        take_upload(t, key).await?;
    }
    Ok(())
}

pub(super) async fn keys_beyond_xml_take_uploads<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for key in odd_keys().iter().filter(|key| key.chars().any(is_beyond_xml)) {
        take_upload(t, key).await?;
    }
    Ok(())
}

/// Returns true if XML 1.0 can't represent a character; responses about uploads name the key in XML.
fn is_beyond_xml(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}')
}

async fn take_upload<S: ObjectStore>(t: &StoreUnderTest<S>, key: &str) -> CaseResult {
    let failed = |error: ServiceError| Failure::new(format!("{key:?}: {error}"));
    let id = t.create(key).await.map_err(failed)?;
    let upload = t.upload(key, &id);
    let body = Bytes::from(key.to_owned());
    let etag = t.part(upload, 1, &body).await.map_err(failed)?;
    let open = t.store.list_uploads(&t.bucket, key).await.map_err(failed)?;
    ensure!(open.iter().any(|found| found.upload_id == id), "the upload of {key:?} is not listed");
    ensure_eq!(t.store.list_parts(upload, None).await.map_err(failed)?.parts.len(), 1, "parts of {key:?}");
    t.complete(upload, &[(1, etag)], &WriteCondition::Any).await.map_err(failed)?;
    ensure_eq!(t.content(key).await.map_err(failed)?, body, "content of {key:?}");
    Ok(())
}

pub(super) async fn keys_over_1024_bytes_are_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let key = "x".repeat(1_025);
    ensure_class!(t.put(&key, "x").await, ErrorClass::Refused, "a put");
    ensure_class!(t.create(&key).await, ErrorClass::Refused, "an upload");
    Ok(())
}

pub(super) async fn what_is_missing_is_told_apart<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    ensure_class!(t.get("nobody").await, ErrorClass::NoSuchKey, "a get of a missing key");
    ensure_class!(t.store.tags(&t.bucket, "nobody", None).await, ErrorClass::NoSuchKey, "tags of a missing key");
    ensure_eq!(t.head("nobody").await?, None, "head of a missing key");

    let missing = format!("{}-missing", t.bucket);
    let bucket = missing.as_str();
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Any);
    let get = GetRequest { bucket, ..t.get_request("k") };
    ensure_class!(t.store.get(get).await, ErrorClass::Service(ServiceFault::NotFound), "a get without bucket");
    let list = ListRequest { bucket, ..t.list_request() };
    ensure_class!(t.store.list(list).await, ErrorClass::Service(ServiceFault::NotFound), "a listing without bucket");
    let put = PutRequest {
        bucket,
        key: "k",
        body: Bytes::new(),
        md5: md5(b""),
        attributes: &attributes,
        tags: &tags,
        condition: &condition,
    };
    ensure_class!(t.store.put(put).await, ErrorClass::Service(ServiceFault::NotFound), "a put without bucket");
    let create = CreateUpload { bucket, key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let created = t.store.create_upload(create).await;
    ensure_class!(created, ErrorClass::Service(ServiceFault::NotFound), "an upload without bucket");
    let upload = UploadRef { bucket, key: "k", upload_id: "no-upload" };
    let part = PutPart { upload, number: 1, body: held(&Bytes::new()), checksum: false };
    ensure_class!(
        t.store.put_part(part).await,
        ErrorClass::Service(ServiceFault::NotFound) | ErrorClass::NoSuchUpload,
        "a part without bucket"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_keys_have_1024_bytes_and_no_key_is_there_twice() {
        let keys = odd_keys();
        assert_eq!(keys.iter().filter(|key| key.len() == 1_024).count(), 2);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }
}
