//! Objects of any size with bytes generated from a seed as they are sent.

use anyhow::Context as _;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Part size of an upload in bytes; differs from the workers'.
const PART: u64 = 40 << 20;
/// Parts generated and sent concurrently.
const AT_ONCE: usize = 2;

/// Generates bytes from a seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Puts an object in one request.
pub async fn put(client: &Client, bucket: &str, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let put = client.put_object().bucket(bucket).key(key).body(ByteStream::from(bytes)).send().await;
    put.map(drop).with_context(|| format!("failed to put {key}"))
}

/// Puts an object of any size in parts, with few of them in memory.
pub async fn put_large(client: &Client, bucket: &str, key: &str, size: u64, seed: u64) -> anyhow::Result<()> {
    let made = client.create_multipart_upload().bucket(bucket).key(key).send().await;
    let made = made.with_context(|| format!("failed to create an upload of {key}"))?;
    let upload = made.upload_id().context("there is no upload id")?;
    let parts: Vec<CompletedPart> = futures::stream::iter(0..size.div_ceil(PART))
        .map(|n| async move {
            let body = bytes(seed.wrapping_add(n), usize::try_from(PART.min(size - n * PART))?);
            let number = i32::try_from(n + 1)?;
            let part = client.upload_part().bucket(bucket).key(key).upload_id(upload).part_number(number);
            let sent = part.body(ByteStream::from(body)).send().await;
            let sent = sent.with_context(|| format!("failed to put part {number} of {key}"))?;
            anyhow::Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
    let complete = complete.multipart_upload(parts).send().await;
    complete.map(drop).with_context(|| format!("failed to complete {key}"))
}

/// Reads a whole object; `None` if it does not exist.
pub async fn read(client: &Client, bucket: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
    match client.get_object().bucket(bucket).key(key).send().await {
        Ok(answer) => {
            let body = answer.body.collect().await.with_context(|| format!("failed to read {key}"))?;
            Ok(Some(body.to_vec()))
        }
        Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {key}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(bytes(1, 100), bytes(1, 100));
        assert_ne!(bytes(1, 100), bytes(2, 100));
    }
}
