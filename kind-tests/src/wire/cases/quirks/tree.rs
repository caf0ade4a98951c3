//! The small tree that is copied under each quirk.

use anyhow::Context as _;
use async_compression::tokio::write::GzipEncoder;
use aws_sdk_s3::Client;
use tokio::io::AsyncWriteExt as _;

use crate::seeded;
use crate::tree::Object;
use crate::wire::config::DESTINATION;

/// Three parts, the last one short.
const LARGE: usize = (11 << 20) + 7;
/// Number of small objects.
const MANY: u64 = 12;
/// Keys whose objects at the destination are older and have other content.
pub const OLD: [&str; 4] = ["many/00", "many/01", "large-old", "a//old"];

/// Returns the objects of the source.
pub async fn objects() -> anyhow::Result<Vec<Object>> {
    let mut objects = vec![
        Object::of_bytes("empty", ""),
        Object::of_bytes("folder/", ""),
        Object::of_bytes("a//b", "two slashes"),
        Object::of_bytes("a//old", seeded::bytes(3, 700)),
        Object::of_bytes("denied/1", "1"),
        Object::of_bytes("denied/2", seeded::bytes(5, 30_000)),
        Object::of_bytes("large", seeded::bytes(7, LARGE)),
        Object::of_bytes("large-old", seeded::bytes(8, LARGE)),
    ];
    objects.extend((0..MANY).map(|n| Object::of_bytes(format!("many/{n:02}"), seeded::bytes(100 + n, 2_000))));
    let tagged = |key: &str, bytes: Vec<u8>| {
        let mut object = Object::of_bytes(key, bytes);
        object.tags = vec![("team".into(), "a b".into()), ("year".into(), "2026".into())];
        object.metadata = [("origin".to_owned(), "field".to_owned())].into();
        object.headers.cache_control = Some("no-store".into());
        object
    };
    objects.push(tagged("tagged", seeded::bytes(11, 500)));
    objects.push(tagged("large-tagged", seeded::bytes(12, LARGE)));
    let mut packed = Object::of_bytes("text.gz", packed().await?);
    packed.headers.content_type = "text/plain".into();
    packed.headers.content_encoding = Some("gzip".into());
    objects.push(packed);
    Ok(objects)
}

/// Returns a compressible text, compressed with gzip.
async fn packed() -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzipEncoder::new(Vec::new());
    for line in 0..2_000_u32 {
        let text = format!("line {line} of a text that is not random\n");
        encoder.write_all(text.as_bytes()).await.context("failed to compress a text")?;
    }
    encoder.shutdown().await.context("failed to compress a text")?;
    Ok(encoder.into_inner())
}

/// Puts older content of some objects at the destination.
pub async fn put_old(destination: &Client) -> anyhow::Result<()> {
    for key in OLD {
        seeded::put(destination, DESTINATION, key, seeded::bytes(999, 100)).await?;
    }
    Ok(())
}
