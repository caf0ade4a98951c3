//! Listings of objects, in both versions of the request, and what else is asked about a bucket.

use std::fmt::Write as _;
use std::ops::Bound;

use hyper::{Method, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Service;
use super::answer::{self, Body, Refusal, escaped};
use super::buckets::{Bucket, time};
use super::query::Query;

/// Most keys of a page.
const PAGE: usize = 1_000;
/// What S3 leaves as it is where `encoding-type=url` is asked for.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/').remove(b'*');
/// Settings that a bucket may lack, with S3's word for it.
const LACKING: &[(&str, &str)] = &[
    ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("lifecycle", "NoSuchLifecycleConfiguration"),
    ("object-lock", "ObjectLockConfigurationNotFoundError"),
    ("policy", "NoSuchBucketPolicy"),
    ("tagging", "NoSuchTagSet"),
];

impl Service {
    /// Answers a request about a bucket.
    pub fn bucket(&self, method: &Method, name: &str, query: &Query) -> Result<Response<Body>, Refusal> {
        let mut buckets = self.buckets();
        let counted = |operation| self.counts.add(operation, 1);
        match *method {
            Method::PUT => {
                counted("CreateBucket");
                buckets.make(name);
                Ok(answer::empty())
            }
            Method::HEAD => {
                counted("HeadBucket");
                buckets.get(name).map(|_| answer::empty())
            }
            Method::GET if query.has("uploads") => {
                counted("ListMultipartUploads");
                Ok(answer::xml(&uploads(buckets.get(name)?, query)))
            }
            Method::GET if query.has("location") => {
                counted("GetBucketLocation");
                buckets.get(name).map(|_| answer::xml("<LocationConstraint/>"))
            }
            Method::GET if query.has("versioning") => {
                counted("GetBucketVersioning");
                buckets.get(name).map(|_| answer::xml("<VersioningConfiguration/>"))
            }
            Method::GET => {
                if let Some((_, code)) = LACKING.iter().find(|(setting, _)| query.has(setting)) {
                    counted("GetBucketSetting");
                    return Err(Refusal::NoSuchSetting(code));
                }
                counted("ListObjects");
                Ok(answer::xml(&Page::of(buckets.get(name)?, query).xml(name, query)))
            }
            _ => Err(Refusal::NotImplemented),
        }
    }
}

fn uploads(bucket: &Bucket, query: &Query) -> String {
    let prefix = query.get("prefix").unwrap_or_default();
    let mut text = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>".to_owned();
    for (id, upload) in bucket.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)) {
        let (key, begun) = (escaped(&upload.key), time(upload.begun));
        let _ =
            write!(text, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>");
    }
    text + "</ListMultipartUploadsResult>"
}

/// A page of a listing.
#[derive(Debug, Default)]
struct Page<'a> {
    keys: Vec<&'a str>,
    /// The objects, and the common prefixes, as XML.
    entries: String,
    prefixes: Vec<String>,
    /// The last key or prefix of the page if others follow.
    last: Option<String>,
}

impl<'a> Page<'a> {
    fn of(bucket: &'a Bucket, query: &Query) -> Self {
        let prefix = query.get("prefix").unwrap_or_default();
        let delimiter = query.get("delimiter").filter(|delimiter| !delimiter.is_empty());
        let most = query.number("max-keys").map_or(PAGE, |most: usize| most.min(PAGE));
        let after = ["continuation-token", "start-after", "marker"].iter().find_map(|name| query.get(name));
        let mut from = match after {
            Some(after) if delimiter.is_some_and(|delimiter| after.ends_with(delimiter)) => beyond(after),
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        let (mut page, is_encoded) = (Self::default(), query.get("encoding-type") == Some("url"));
        'pages: loop {
            for (key, object) in bucket.objects.range((from.clone(), Bound::Unbounded)) {
                if !key.starts_with(prefix) {
                    break 'pages;
                }
                if page.keys.len() + page.prefixes.len() == most {
                    let last_prefix = page.prefixes.last().map(String::as_str);
                    page.last = page.keys.last().copied().max(last_prefix).map(ToOwned::to_owned);
                    break 'pages;
                }
                let common = delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
                if let Some(end) = common {
                    page.prefixes.push(key[..end].to_owned());
                    from = beyond(&key[..end]);
                    continue 'pages;
                }
                page.keys.push(key);
                let _ = write!(
                    page.entries,
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
                     <StorageClass>STANDARD</StorageClass></Contents>",
                    name(key, is_encoded),
                    time(object.modified),
                    object.etag,
                    object.size
                );
            }
            break;
        }
        page
    }

    fn xml(&self, bucket: &str, query: &Query) -> String {
        let is_encoded = query.get("encoding-type") == Some("url");
        let mut text = format!("<ListBucketResult><Name>{}</Name>", escaped(bucket));
        for (parameter, element) in [("prefix", "Prefix"), ("delimiter", "Delimiter"), ("max-keys", "MaxKeys")] {
            if let Some(value) = query.get(parameter) {
                let _ = write!(text, "<{element}>{}</{element}>", name(value, is_encoded));
            }
        }
        if is_encoded {
            text += "<EncodingType>url</EncodingType>";
        }
        let _ = write!(text, "<KeyCount>{}</KeyCount>", self.keys.len() + self.prefixes.len());
        let _ = write!(text, "<IsTruncated>{}</IsTruncated>", self.last.is_some());
        if let Some(last) = &self.last {
            let is_second = query.get("list-type") == Some("2");
            let (element, value) = if is_second {
                ("NextContinuationToken", escaped(last))
            } else {
                ("NextMarker", name(last, is_encoded))
            };
            let _ = write!(text, "<{element}>{value}</{element}>");
        }
        text += &self.entries;
        for prefix in &self.prefixes {
            let _ = write!(text, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", name(prefix, is_encoded));
        }
        text + "</ListBucketResult>"
    }
}

/// Begins after all keys with a prefix.
fn beyond(prefix: &str) -> Bound<String> {
    Bound::Excluded(format!("{prefix}{}", char::MAX))
}

fn name(key: &str, is_encoded: bool) -> String {
    if is_encoded { utf8_percent_encode(key, KEPT).to_string() } else { escaped(key) }
}

#[cfg(test)]
mod tests {
    use super::super::buckets::Buckets;
    use super::*;

    const KEYS: &str = "1 a/1\n1 a/2\n1 a/b/3\n1 b\n1 c/4\n1 c/5\n1 d";

    /// All pages of a listing: names of keys, and of prefixes with a `>`.
    fn listed(parameters: &str, token: &str) -> Vec<String> {
        let mut buckets = Buckets::default();
        buckets.fill("b", KEYS).unwrap();
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let more = after.map(|after| format!("&{token}={after}")).unwrap_or_default();
            let query = Query::of(&format!("/b?{parameters}{more}").parse().unwrap());
            let page = Page::of(buckets.get("b").unwrap(), &query);
            let mut names: Vec<String> = page.keys.iter().map(|key| (*key).to_owned()).collect();
            names.extend(page.prefixes.iter().map(|prefix| format!("{prefix}>")));
            names.sort();
            all.extend(names);
            after = page.last;
            if after.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn pages_have_every_key_once() {
        for most in 1..8 {
            for token in ["continuation-token", "marker"] {
                let all = ["a/1", "a/2", "a/b/3", "b", "c/4", "c/5", "d"];
                assert_eq!(listed(&format!("max-keys={most}"), token), all, "{most} {token}");
                let tops = ["a/>", "b", "c/>", "d"];
                assert_eq!(listed(&format!("delimiter=/&max-keys={most}"), token), tops, "{most} {token}");
                let inner = ["a/1", "a/2", "a/b/>"];
                assert_eq!(listed(&format!("delimiter=/&prefix=a/&max-keys={most}"), token), inner, "{most} {token}");
            }
        }
        assert_eq!(listed("start-after=b", "continuation-token"), ["c/4", "c/5", "d"]);
        assert_eq!(listed("start-after=a&prefix=c/", "continuation-token"), ["c/4", "c/5"]);
    }
}
