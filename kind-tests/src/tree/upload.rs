//! Concurrent uploads of objects.

use std::fs::File;
use std::io::{Read as _, copy};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt as _, TryStreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Content, Object};

/// Larger objects are uploaded in parts of this size, as common tools do.
const PART: usize = 16 << 20;
const AT_ONCE: usize = 12;

/// Creates a bucket and puts objects into it.
pub async fn seed(client: &Client, bucket: &str, objects: &[Object]) -> anyhow::Result<()> {
    create_bucket(client, bucket).await?;
    put_all(client, bucket, objects).await
}

/// Creates a bucket.
pub async fn create_bucket(client: &Client, bucket: &str) -> anyhow::Result<()> {
    let made = client.create_bucket().bucket(bucket).send().await;
    made.map(drop).map_err(|e| anyhow::anyhow!("failed to make bucket {bucket}: {}", DisplayErrorContext(e)))
}

/// Puts objects into a bucket.
pub async fn put_all(client: &Client, bucket: &str, objects: &[Object]) -> anyhow::Result<()> {
    futures::stream::iter(objects)
        .map(|object| async move {
            put(client, bucket, object).await.with_context(|| format!("failed to put {:?}", object.key))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn put(client: &Client, bucket: &str, object: &Object) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    match &object.content {
        Content::Bytes(given) => bytes.clone_from(given),
        Content::Files(files) => {
            for path in files {
                let mut file = File::open(path).with_context(|| format!("failed to read {}", path.display()))?;
                copy(&mut file, &mut bytes).with_context(|| format!("failed to read {}", path.display()))?;
            }
        }
    }
    ensure!(bytes.len() as u64 == object.size, "its file changed");
    if bytes.len() > PART {
        put_parts(client, bucket, object, &bytes).await
    } else {
        put_whole(client, bucket, object, bytes).await
    }
}

async fn put_whole(client: &Client, bucket: &str, object: &Object, bytes: Vec<u8>) -> anyhow::Result<()> {
    let headers = object.headers.clone();
    let request = client
        .put_object()
        .bucket(bucket)
        .key(&object.key)
        .content_type(headers.content_type)
        .set_cache_control(headers.cache_control)
        .set_content_disposition(headers.content_disposition)
        .set_content_encoding(headers.content_encoding)
        .set_content_language(headers.content_language)
        .set_metadata(Some(object.metadata.clone().into_iter().collect()))
        .set_tagging(tagging(object))
        .body(ByteStream::from(bytes));
    request.send().await.map(drop).map_err(|e| anyhow::anyhow!("{}", DisplayErrorContext(e)))
}

async fn put_parts(client: &Client, bucket: &str, object: &Object, bytes: &[u8]) -> anyhow::Result<()> {
    let headers = object.headers.clone();
    let made = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(&object.key)
        .content_type(headers.content_type)
        .set_content_encoding(headers.content_encoding)
        .set_metadata(Some(object.metadata.clone().into_iter().collect()))
        .set_tagging(tagging(object))
        .send()
        .await?;
    let upload = made.upload_id().context("there is no upload id")?;
    let mut parts = Vec::new();
    let mut rest = bytes;
    for number in 1.. {
        let mut part = Vec::with_capacity(PART);
        rest.by_ref().take(PART as u64).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        let sent = client
            .upload_part()
            .bucket(bucket)
            .key(&object.key)
            .upload_id(upload)
            .part_number(number)
            .body(ByteStream::from(part))
            .send()
            .await?;
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(&object.key).upload_id(upload);
    complete.multipart_upload(parts).send().await?;
    Ok(())
}

/// Formats tags as in the header: a query string.
fn tagging(object: &Object) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tags: Vec<String> = object.tags.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    (!tags.is_empty()).then(|| tags.join("&"))
}

/// Aborts the open multipart uploads of a bucket.
pub async fn abort_all(client: &Client, bucket: &str) -> anyhow::Result<()> {
    let found = client.list_multipart_uploads().bucket(bucket).send().await.context("failed to list uploads")?;
    for upload in found.uploads() {
        let (key, id) = upload.key().zip(upload.upload_id()).context("an upload has no key or ID")?;
        let abort = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
        abort.send().await.with_context(|| format!("failed to abort the upload of {key:?}"))?;
    }
    Ok(())
}

/// Deletes a bucket with its content; an absent bucket is no error.
pub async fn delete_bucket(client: &Client, bucket: &str) -> anyhow::Result<()> {
    let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        let Ok(page) = page else { return Ok(()) };
        futures::stream::iter(page.contents().iter().filter_map(aws_sdk_s3::types::Object::key))
            .map(|key| client.delete_object().bucket(bucket).key(key).send())
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
    }
    // Of a bucket that keeps versions, they and the markers are left.
    loop {
        let page = client.list_object_versions().bucket(bucket).send().await?;
        let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
        let markers = page.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
        let left: Vec<_> = versions.chain(markers).filter_map(|(key, id)| Some((key?, id?))).collect();
        if left.is_empty() {
            break;
        }
        futures::stream::iter(left)
            .map(|(key, id)| client.delete_object().bucket(bucket).key(key).version_id(id).send())
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
    }
    client.delete_bucket().bucket(bucket).send().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_a_query() {
        let mut object = Object::of_bytes("k", "");
        assert_eq!(tagging(&object), None);
        object.tags = vec![("a b".into(), "c&d=e".into()), ("x".into(), String::new())];
        assert_eq!(tagging(&object).as_deref(), Some("a%20b=c%26d%3De&x="));
    }
}
