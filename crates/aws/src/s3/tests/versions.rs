//! Tests of version listings.

use super::*;

const FIRST: ListRequest<'_> =
    ListRequest { bucket: "b", prefix: "p", start_after: None, continuation: None, max_keys: None };

fn version(key: &str, id: &str, latest: bool) -> String {
    format!(
        "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest><Size>1</Size>\
         <ETag>\"e\"</ETag><LastModified>2026-01-01T00:00:00.5Z</LastModified></Version>"
    )
}

fn page(entries: &[String], end: &str) -> &'static str {
    let entries = entries.concat();
    let text = format!(
        "HTTP/1.1 200 OK\r\n\r\n<ListVersionsResult><EncodingType>url</EncodingType>{end}{entries}</ListVersionsResult>"
    );
    text.leak()
}

#[tokio::test]
async fn only_the_newest_versions_are_listed() {
    let deleted = "<DeleteMarker><Key>c</Key><VersionId>d1</VersionId><IsLatest>true</IsLatest></DeleteMarker>";
    let entries = [
        version("a+b", "v2", true),
        version("a+b", "v1", false),
        deleted.to_owned(),
        version("c", "v1", false),
        version("d", "null", true),
    ];
    let (store, mut requests) = serve(page(&entries, "<IsTruncated>false</IsTruncated>")).await;
    let listed = store.list_versions(ListRequest { start_after: Some("a&\n"), ..FIRST }).await.unwrap();
    let found: Vec<_> =
        listed.objects.iter().map(|object| (object.key.as_str(), object.version_id.as_deref())).collect();
    assert_eq!(found, [("a b", Some("v2")), ("d", None)]);
    assert_eq!(listed.continuation, None);
    let line = sent(&mut requests)[0].line().to_owned();
    for expected in ["versions", "prefix=p", "key-marker=a%26%0A", "encoding-type=url"] {
        assert!(line.contains(expected), "{expected} is not in {line}");
    }
    assert!(!line.contains("version-id-marker"), "{line}");
}

#[tokio::test]
async fn a_page_without_newest_versions_is_not_the_end() {
    let end = "<IsTruncated>true</IsTruncated><NextKeyMarker>a%2Bb</NextKeyMarker>\
               <NextVersionIdMarker>v1</NextVersionIdMarker>";
    let (store, mut requests) = serve(page(&[version("a%2Bb", "v1", false)], end)).await;
    let listed = store.list_versions(FIRST).await.unwrap();
    assert!(listed.objects.is_empty());
    let continuation = listed.continuation.unwrap();
    let next = ListRequest { continuation: Some(&continuation), start_after: Some("a"), ..FIRST };
    // The same page again: the service does not advance.
    assert_eq!(store.list_versions(next).await.unwrap_err().code, "InvalidResponse");
    let line = sent(&mut requests).pop().unwrap().line().to_owned();
    assert!(line.contains("key-marker=a%2Bb") && line.contains("version-id-marker=v1"), "{line}");
}

#[tokio::test]
async fn a_listing_of_versions_never_ends_by_mistake() {
    let (store, _requests) = serve(page(&[], "<IsTruncated>true</IsTruncated>")).await;
    assert_eq!(store.list_versions(FIRST).await.unwrap_err().code, "InvalidResponse");
    let foreign = store.list_versions(ListRequest { continuation: Some("a"), ..FIRST }).await.unwrap_err();
    assert_eq!(foreign.class, ErrorClass::Refused);
    let (store, _requests) = serve(page(&[], "")).await;
    assert_eq!(store.list_versions(FIRST).await.unwrap_err().class, ErrorClass::NoAnswer);
    let missing = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error><Code>NoSuchBucket</Code></Error>";
    let (store, _requests) = serve(missing).await;
    let error = store.list_versions(FIRST).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Service(ServiceFault::NotFound));
}
