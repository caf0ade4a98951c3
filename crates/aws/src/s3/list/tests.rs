//! Pages as services send them, and as none does. What the SDK's reader makes of a page is compared with ours.

use std::fmt::Write as _;

use aws_sdk_s3::Config;
use aws_sdk_s3::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::etag::ETag;
use proptest::prelude::*;

use super::super::direct::Received;
use super::*;
use crate::error::words::is_whole;

/// A service that answers every request with the same page.
#[derive(Debug)]
struct Canned(Vec<u8>);

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let status = 200.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.0.clone()))))
    }
}

/// Reads a page by the SDK's reader; `None` if that rejects it.
fn by_sdk(body: &[u8]) -> Option<ListPage> {
    let body = body.to_vec();
    let http: SharedHttpClient = http_client_fn(move |_, _| SharedHttpConnector::new(Canned(body.clone())));
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url("http://localhost")
        .force_path_style(true)
        .allow_no_auth()
        .http_client(http)
        .build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(Client::from_conf(config).list_objects_v2().bucket("b").send());
    listed_by_sdk(&sent.ok()?)
}

fn listed_by_sdk(output: &ListObjectsV2Output) -> Option<ListPage> {
    let continuation = output.next_continuation_token().filter(|token| !token.is_empty());
    let continuation = if output.is_truncated()? { Some(continuation?.to_owned()) } else { None };
    let is_encoded = output.encoding_type() == Some(&EncodingType::Url);
    let object = |object: &aws_sdk_s3::types::Object| {
        let key = object.key()?;
        let class = object.storage_class().map(|class| class.as_str().to_owned());
        Some(ListedObject {
            key: if is_encoded { decode_key(key)? } else { key.to_owned() },
            size: object.size()?.try_into().ok()?,
            etag: object.e_tag().map(ETag::new),
            modified: object.last_modified()?.to_millis().ok()?,
            version_id: None,
            storage_class: class.filter(|class| !class.is_empty() && class != "STANDARD"),
        })
    };
    let objects = output.contents().iter().map(object).collect::<Option<_>>()?;
    Some(ListPage { objects, continuation })
}

/// Reads a page as the store does.
fn ours(body: &[u8]) -> Result<ListPage, ServiceError> {
    let answer = HttpResponse::new(200.try_into().unwrap(), SdkBody::empty());
    let received = Received::new(&answer, bytes::Bytes::copy_from_slice(body));
    listing(read(&received, Listed::Objects, LIST)?)
}

/// How a document is written, none of which changes what it says.
#[derive(Clone, Debug)]
struct Style {
    prefix: &'static str,
    /// Attributes of elements, and what comes after the names in their end tags.
    attribute: &'static str,
    space: &'static str,
    /// What comes between elements.
    gap: &'static str,
    /// Writes so many of the characters as references.
    references: u32,
    declaration: &'static str,
}

impl Style {
    fn element(&self, name: &str, content: &str) -> String {
        let Self { prefix, attribute, space, gap, .. } = self;
        if content.is_empty() {
            return format!("{gap}<{prefix}{name}/>");
        }
        format!("{gap}<{prefix}{name}{attribute}>{content}</{prefix}{name}{space}>")
    }

    fn text(&self, text: &str) -> String {
        let mut written = String::new();
        for (position, c) in text.chars().enumerate() {
            let n = u32::from(c);
            match (c, u32::try_from(position).unwrap_or_default() % 7 < self.references) {
                (' '.., true) if n % 2 == 0 => write!(written, "&#{n};"),
                (' '.., true) => write!(written, "&#x{n:X};"),
                ('&', _) => write!(written, "&amp;"),
                ('<', _) => write!(written, "&lt;"),
                ('>', _) => write!(written, "&gt;"),
                ('"', _) => write!(written, "&quot;"),
                ('\'', _) => write!(written, "&apos;"),
                _ => write!(written, "{c}"),
            }
            .unwrap();
        }
        written
    }

    fn value(&self, name: &str, text: &str) -> String {
        self.element(name, &self.text(text))
    }
}

fn styles() -> impl Strategy<Value = Style> {
    let gaps = prop::sample::select(vec!["", "\n  ", "\r\n\t", "<!-- a > b -->", "<?p x?>"]);
    let prefixes = prop::sample::select(vec!["", "", "s3:"]);
    let declarations = prop::sample::select(vec![
        "",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "\u{feff}<?xml version='1.0'?>",
        "<!-- first --><!DOCTYPE x>\n",
    ]);
    let attributes = prop::sample::select(vec!["", "", " a=\"&gt;/\""]);
    let spaces = prop::sample::select(vec!["", "", " "]);
    (prefixes, attributes, spaces, gaps, 0..4_u32, declarations).prop_map(
        |(prefix, attribute, space, gap, references, declaration)| Style {
            prefix,
            attribute,
            space,
            gap,
            references,
            declaration,
        },
    )
}

/// Texts of the characters that XML has, with many of those that have a meaning in it or in URLs.
fn texts() -> impl Strategy<Value = String> {
    let special = prop::sample::select("<>&\"'+% ;#/=]x\t\n".chars().collect::<Vec<_>>());
    let any = any::<char>().prop_filter("a character of XML", |c| {
        !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') && !c.is_whitespace()
    });
    prop::collection::vec(prop_oneof![3 => prop::char::range('a', 'z'), 2 => special, 1 => any], 1..20)
        .prop_map(|text| text.into_iter().collect::<String>().replace("]]", "]"))
}

fn sizes() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => any::<u32>().prop_map(|size| size.to_string()),
        1 => prop::sample::select(vec!["9223372036854775807", "9223372036854775808", "-1", "+1", "", " 1", "1.0", "x"])
            .prop_map(ToOwned::to_owned),
    ]
}

fn times() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..100_000_u32, 0..1_000_u32).prop_map(|(n, ms)| {
            let (day, hour, minute) = (n % 28 + 1, n % 24, n % 60);
            format!("20{:02}-{:02}-{day:02}T{hour:02}:{minute:02}:59.{ms:03}Z", n % 100, n % 12 + 1)
        }),
        2 => prop::sample::select(vec![
            "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.123456789Z",
            "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000-08:30", "1969-12-31T23:59:59.999Z",
            "2024-02-29T00:00:00.000Z", "2016-12-31T23:59:60Z", "2026-01-01t00:00:00z",
        ]).prop_map(ToOwned::to_owned),
        1 => prop::sample::select(vec![
            "", "yesterday", "2026-01-01", "2026-02-30T00:00:00Z", "Thu, 01 Jan 2026 00:00:00 GMT", "1767225600",
            "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01 00:00:00Z", "2026-01-01T24:00:00.000Z",
        ]).prop_map(ToOwned::to_owned),
    ]
}

/// An element of an entry or of a page: name and text, or other elements within it.
type Member = (&'static str, Result<String, &'static str>);

fn entries() -> impl Strategy<Value = Vec<Member>> {
    let etags = prop_oneof![
        Just("\"9e107d9d372bb6826bd81d3542a419d6\"".to_owned()),
        Just("W/\"a-2\"".to_owned()),
        Just(String::new()),
        texts(),
    ];
    let classes = prop::sample::select(vec!["STANDARD", "STANDARD_IA", "NEW_ONE", ""]);
    let others = prop::sample::select(vec![
        ("Owner", Err("<ID>i</ID><DisplayName>d<Key>no</Key></DisplayName>")),
        ("ChecksumAlgorithm", Ok("CRC64NVME".to_owned())),
        ("ChecksumType", Ok("FULL_OBJECT".to_owned())),
        ("VersionId", Ok("v".to_owned())),
        ("IsLatest", Ok(String::new())),
        ("RestoreStatus", Err("<IsRestoreInProgress>false</IsRestoreInProgress>")),
        ("Strange", Err("<Contents><Key>no</Key></Contents><![CDATA[</Strange>]]><Size/>")),
    ]);
    let optional = |member: BoxedStrategy<Member>| prop::option::weighted(0.9, member);
    let text = |name: &'static str, value: BoxedStrategy<String>| {
        optional(value.prop_map(move |value| (name, Ok(value))).boxed())
    };
    let members = (
        texts().prop_map(|key| ("Key", Ok(key))),
        prop::option::weighted(0.99, sizes().prop_map(|size| ("Size", Ok(size)))),
        prop::option::weighted(0.99, times().prop_map(|time| ("LastModified", Ok(time)))),
        text("ETag", etags.boxed()),
        text("StorageClass", classes.prop_map(ToOwned::to_owned).boxed()),
        prop::collection::vec(others, 0..3),
    );
    let members = members.prop_map(|(key, size, time, etag, class, others)| {
        [Some(key), size, time, etag, class].into_iter().flatten().chain(others).collect::<Vec<Member>>()
    });
    members.prop_shuffle()
}

/// Writes a page.
fn written(style: &Style, encoding: Option<bool>, ends: &[Member], entries: &[Vec<Member>], last: bool) -> String {
    let member = |encoded: bool, (name, value): &Member| match value {
        Ok(text) if encoded && *name == "Key" => {
            let encoded = super::super::encoding::encode_value(text).to_string();
            style.value(name, &encoded.replace("%20", if text.len() % 2 == 0 { "+" } else { "%20" }))
        }
        Ok(text) => style.value(name, text),
        Err(inner) => style.element(name, inner),
    };
    let encoded = encoding == Some(true);
    let entries: String = entries
        .iter()
        .map(|entry| style.element("Contents", &entry.iter().map(|part| member(encoded, part)).collect::<String>()))
        .collect();
    let mut ends: String = ends.iter().map(|part| member(false, part)).collect();
    if let Some(encoded) = encoding {
        ends.push_str(&style.value("EncodingType", if encoded { "url" } else { "other" }));
    }
    let content = if last { entries + &ends } else { ends + &entries };
    format!(
        "{}{}\n",
        style.declaration,
        style.element("ListBucketResult", &format!("{content}{}", style.gap)).trim_start()
    )
}

fn pages() -> impl Strategy<Value = String> {
    let truncated = prop::sample::select(vec!["true", "false", "false", "false", "1", "True", ""]);
    let truncated = prop::option::weighted(0.95, truncated);
    let token = prop::option::of(prop_oneof![texts(), Just(String::new())]);
    let ends = (truncated, token).prop_map(|(truncated, token)| {
        let truncated = truncated.map(|text| ("IsTruncated", Ok(text.to_owned())));
        let token = token.map(|token| ("NextContinuationToken", Ok(token)));
        let others: [Member; 3] = [
            ("Name", Ok("bucket".to_owned())),
            ("Prefix", Ok("a&b".to_owned())),
            ("CommonPrefixes", Err("<Prefix>a</Prefix>")),
        ];
        others.into_iter().chain(truncated).chain(token).collect::<Vec<_>>()
    });
    let entries = prop::collection::vec(entries(), 0..4);
    (styles(), prop::option::of(any::<bool>()), ends, entries, any::<bool>())
        .prop_map(|(style, encoding, ends, entries, last)| written(&style, encoding, &ends, &entries, last))
}

proptest! {
    #[test]
    fn a_page_says_what_the_sdk_finds_in_it(page in pages()) {
        let (expected, found) = (by_sdk(page.as_bytes()), ours(page.as_bytes()));
        match (&expected, &found) {
            (Some(expected), Ok(found)) => {
                prop_assert_eq!(&found.objects, &expected.objects);
                prop_assert_eq!(&found.continuation, &expected.continuation);
            }
            (None, Err(_)) => {}
            _ => prop_assert!(false, "{:?}, not {:?}", found, expected),
        }
    }

    #[test]
    fn a_page_that_is_cut_off_is_none(page in pages(), at in any::<prop::sample::Index>()) {
        let page = page.trim_end().as_bytes();
        let cut = &page[..at.index(page.len())];
        prop_assert!(ours(cut).is_err());
        prop_assert!(!is_whole(cut) && is_whole(page));
    }

    #[test]
    fn bytes_are_never_a_page_by_accident(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(ours(&bytes).is_err());
        let inside = [b"<ListBucketResult><IsTruncated>false</IsTruncated>", &*bytes, b"</ListBucketResult>"].concat();
        if let Ok(page) = ours(&inside) {
            prop_assert!(page.objects.is_empty());
        }
    }
}

/// A page of one object, with these elements.
fn page_with(key: &str) -> String {
    let rest = "<Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>";
    format!("<ListBucketResult><Contents>{key}{rest}</Contents><IsTruncated>false</IsTruncated></ListBucketResult>")
}

#[test]
fn texts_are_read_whole() {
    for (key, expected) in [
        ("<Key>a</Key>", Ok("a")),
        ("<Key><![CDATA[a<b>&amp;]]></Key>", Ok("a<b>&amp;")),
        ("<Key>a<![CDATA[b]]>&amp;<!-- c -->d<?e?></Key>", Ok("ab&d")),
        ("<Key>&#x1F600;&#10;&quot;</Key>", Ok("\u{1f600}\n\"")),
        ("<Key> a </Key>", Ok(" a ")),
        ("<Key>no</Key><Key>a</Key>", Ok("a")),
        ("<s3:Key xmlns:s3='x'>a</s3:Key>", Ok("a")),
        ("<Key>a</Key><Owner><DisplayName>a & b &nbsp; &x</DisplayName></Owner>", Ok("a")),
        ("<Key>a&nbsp;b</Key>", Err(ErrorClass::NoAnswer)),
        ("<Key>a & b</Key>", Err(ErrorClass::NoAnswer)),
        ("<Key>&#xD800;</Key>", Err(ErrorClass::NoAnswer)),
        ("<Key>a<b/></Key>", Err(ErrorClass::NoAnswer)),
        ("<Key>a</Kez>", Err(ErrorClass::NoAnswer)),
        ("<Key>a\u{1}</Key>", Err(ErrorClass::NoAnswer)),
        ("<Key>a</Key></Content>", Err(ErrorClass::NoAnswer)),
        ("<Key>a</Key></Contents></ListBucketResult><Contents>", Err(ErrorClass::NoAnswer)),
        ("", Err(ErrorClass::Transient)),
        ("<Key/>", Err(ErrorClass::Transient)),
        ("<Key>a</Key></Contents><Contents>", Err(ErrorClass::Transient)),
        ("<Key>a</Key></Contents><Contents/><Contents>", Err(ErrorClass::Transient)),
    ] {
        let found = ours(page_with(key).as_bytes());
        let found = found.as_ref().map(|page| page.objects[0].key.as_str()).map_err(|error| error.class);
        assert_eq!(found, expected, "{key}");
    }
    let latin = page_with("<Key>?</Key>").replace('?', "\u{1}").into_bytes();
    let latin: Vec<_> = latin.into_iter().map(|byte| if byte == 1 { 0xfc } else { byte }).collect();
    assert_eq!(ours(&latin).unwrap_err().class, ErrorClass::NoAnswer);
}

#[test]
fn errors_of_the_service_are_heard_whatever_the_status() {
    let not_found = ErrorClass::Service(ServiceFault::NotFound);
    for (body, class, code) in [
        ("<Error><Code>SlowDown</Code><Message>m</Message></Error>", ErrorClass::Throttled, "SlowDown"),
        ("\n<?xml version='1.0'?><Error><Code>NoSuchBucket</Code></Error>", not_found, "NoSuchBucket"),
        ("<Error><Code>Sl", ErrorClass::NoAnswer, "Http200"),
        ("<html><body>log in</body></html>", ErrorClass::NoAnswer, "Http200"),
        ("<html><br><p>", ErrorClass::NoAnswer, "Http200"),
        ("<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>", ErrorClass::NoAnswer, "Http200"),
        ("{\"keys\":[]}", ErrorClass::NoAnswer, "Http200"),
        ("", ErrorClass::NoAnswer, "Http200"),
        ("<ListBucketResult/>", ErrorClass::NoAnswer, "InvalidResponse"),
        ("<ListBucketResult><IsTruncated>false</IsTruncated>", ErrorClass::NoAnswer, "InvalidResponse"),
    ] {
        let error = ours(body.as_bytes()).unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (class, code), "{body}: {error}");
    }
}
