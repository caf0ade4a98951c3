//! Multipart uploads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hyper::Response;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use jiff::Timestamp;

use super::Service;
use super::answer::{self, Body, Refusal, escaped};
use super::body::{receive, text_of};
use super::buckets::{Bucket, Object, Upload, kept, time};
use super::objects::{check_md5, insert, with_etag};
use super::query::Query;
use crate::counts::Counts;
use crate::pattern::multipart_etag;

/// Most parts of a page.
const PAGE: usize = 1_000;

impl Service {
    /// Answers the request for a new upload.
    pub fn begin(&self, name: &str, key: &str, head: &Parts) -> Result<Response<Body>, Refusal> {
        let mut buckets = self.buckets();
        let bucket = buckets.get(name)?;
        bucket.begun += 1;
        let id = format!("upload-{:08}", bucket.begun);
        let upload = Upload {
            key: key.to_owned(),
            begun: Timestamp::now(),
            headers: kept(&head.headers),
            parts: BTreeMap::new(),
        };
        bucket.uploads.insert(id.clone(), upload);
        let (name, key) = (escaped(name), escaped(key));
        Ok(answer::xml(&format!(
            "<InitiateMultipartUploadResult><Bucket>{name}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>"
        )))
    }

    /// Answers a part.
    pub async fn part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: Option<u32>,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let number = number.ok_or(Refusal::InvalidRequest)?;
        self.buckets().get(bucket)?.upload(id, key)?;
        let under_way = UnderWay { counts: self.counts.clone(), end: "parts broken off" };
        let received = receive(&head.headers, body, self.unchecked, &self.counts).await?;
        under_way.received();
        check_md5(&head.headers, &received)?;
        if self.buckets().get(bucket)?.upload(id, key)?.parts.insert(number, received).is_some() {
            self.counts.add("parts received again", 1);
        }
        with_etag(&hex::encode(received.md5))
    }

    /// Answers a completion.
    pub async fn complete(
        &self,
        name: &str,
        key: &str,
        id: &str,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let wanted = wanted(&text_of(body).await?)?;
        let mut buckets = self.buckets();
        let bucket = buckets.get(name)?;
        let upload = bucket.upload(id, key)?;
        let there = wanted.iter().map(|(number, etag)| {
            upload.parts.get(number).filter(|part| hex::encode(part.md5) == *etag).ok_or(Refusal::InvalidPart)
        });
        let there = there.collect::<Result<Vec<_>, _>>()?;
        let etag = multipart_etag(there.iter().map(|part| &part.md5));
        let object = Object {
            size: there.iter().map(|part| part.size).sum(),
            etag: etag.clone(),
            modified: Timestamp::now(),
            headers: upload.headers.clone(),
        };
        insert(bucket, key, object, &head.headers)?;
        bucket.uploads.remove(id);
        let (name, key) = (escaped(name), escaped(key));
        Ok(answer::xml(&format!(
            "<CompleteMultipartUploadResult><Bucket>{name}</Bucket><Key>{key}</Key><ETag>&quot;{etag}&quot;</ETag>\
             </CompleteMultipartUploadResult>"
        )))
    }

    /// Answers a listing of parts.
    pub fn parts(&self, bucket: &str, key: &str, id: &str, query: &Query) -> Result<Response<Body>, Refusal> {
        Ok(answer::xml(&parts(self.buckets().get(bucket)?, key, id, query)?))
    }

    /// Answers the request to give up an upload.
    pub fn abort(&self, bucket: &str, key: &str, id: &str) -> Result<Response<Body>, Refusal> {
        let mut buckets = self.buckets();
        let bucket = buckets.get(bucket)?;
        bucket.upload(id, key)?;
        bucket.uploads.remove(id);
        Ok(answer::no_content())
    }
}

/// A part that is being received. Counts its end, also where the client is gone and nobody waits for an answer.
struct UnderWay {
    counts: Counts,
    end: &'static str,
}

impl UnderWay {
    fn received(mut self) {
        self.end = "parts received";
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.counts.add(self.end, 1);
    }
}

/// Returns the numbers and ETags of the parts that a completion names, in ascending order.
fn wanted(xml: &str) -> Result<Vec<(u32, String)>, Refusal> {
    let inner = |text: &str, name: &str| {
        let text = text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
        Some(text.replace("&quot;", "\"").replace("&#34;", "\"").trim_matches('"').to_owned())
    };
    let part = |text: &str| Some((inner(text, "PartNumber")?.parse().ok()?, inner(text, "ETag")?));
    let parts: Vec<(u32, String)> =
        xml.split("<Part>").skip(1).map(part).collect::<Option<_>>().ok_or(Refusal::InvalidRequest)?;
    let is_ascending = parts.windows(2).all(|two| two[0].0 < two[1].0);
    if parts.is_empty() || !is_ascending { Err(Refusal::InvalidPart) } else { Ok(parts) }
}

/// Returns a page of the parts of an upload.
fn parts(bucket: &mut Bucket, key: &str, id: &str, query: &Query) -> Result<String, Refusal> {
    let upload = bucket.upload(id, key)?;
    let after = query.number("part-number-marker").unwrap_or(0_u32);
    let most = query.number("max-parts").map_or(PAGE, |most: usize| most.min(PAGE));
    let mut left = upload.parts.range(after.saturating_add(1)..);
    let (mut text, mut last) = (format!("<ListPartsResult><UploadId>{id}</UploadId>"), after);
    for (number, part) in left.by_ref().take(most) {
        last = *number;
        let (etag, size, begun) = (hex::encode(part.md5), part.size, time(upload.begun));
        let _ = write!(
            text,
            "<Part><PartNumber>{number}</PartNumber><LastModified>{begun}</LastModified>\
             <ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Part>"
        );
    }
    let is_truncated = left.next().is_some();
    Ok(text
        + &format!(
            "<NextPartNumberMarker>{last}</NextPartNumberMarker><IsTruncated>{is_truncated}</IsTruncated>\
             </ListPartsResult>"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_name_parts_in_order() {
        let xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>\
                   <Part><ETag>\"b\"</ETag><PartNumber>3</PartNumber></Part></CompleteMultipartUpload>";
        assert_eq!(wanted(xml), Ok(vec![(1, "a".to_owned()), (3, "b".to_owned())]));
        assert_eq!(wanted("<CompleteMultipartUpload/>"), Err(Refusal::InvalidPart));
        let turned = "<Part><PartNumber>2</PartNumber><ETag>a</ETag></Part>\
                      <Part><PartNumber>1</PartNumber><ETag>b</ETag></Part>";
        assert_eq!(wanted(turned), Err(Refusal::InvalidPart));
    }
}
