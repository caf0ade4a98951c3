//! Rules of reading parts, and of the length of a body.

use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{GetRequest, GetResponse, ObjectStore, Span, WriteCondition};

use super::uploads::MINIMUM;
use super::{StoreUnderTest, content, read};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq};

async fn get<S: ObjectStore>(t: &StoreUnderTest<S>, key: &str, span: Span) -> Result<GetResponse, ServiceError> {
    t.store.get(GetRequest { span, ..t.get_request(key) }).await
}

pub(super) async fn parts_are_read_as_they_were_uploaded<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let parts = [content(MINIMUM + 1), content(MINIMUM), Bytes::from("the end")];
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let mut sent = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        sent.push((number, t.part(upload, number, part).await?));
    }
    let written = t.complete(upload, &sent, &WriteCondition::Any).await?;
    for (number, part) in (1..).zip(&parts) {
        let response = get(t, "k", Span::Part(number)).await?;
        ensure_eq!(response.head.parts, Some(3), "number of parts, told with part {number}");
        ensure_eq!(response.head.size, 2 * MINIMUM as u64 + 8, "size of the whole object with part {number}");
        ensure_eq!(response.head.etag, Some(written.etag.clone()), "ETag with part {number}");
        ensure_eq!(response.len, part.len() as u64, "length of part {number}");
        ensure!(read(response).await? == *part, "part {number} came back changed");
    }
    ensure_class!(get(t, "k", Span::Part(4)).await, ErrorClass::Refused, "part 4 of 3");
    Ok(())
}

pub(super) async fn an_object_put_whole_is_its_own_part_one<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put("k", "0123456789").await?;
    let response = get(t, "k", Span::Part(1)).await?;
    ensure_eq!((response.head.size, response.len), (10, 10), "size and length of part 1");
    ensure!(response.head.parts.is_none_or(|parts| parts == 1), "parts of an object put whole");
    ensure_eq!(read(response).await?, Bytes::from("0123456789"), "part 1");
    ensure_class!(get(t, "k", Span::Part(2)).await, ErrorClass::Refused, "part 2 of an object put whole");
    Ok(())
}

pub(super) async fn the_length_of_a_body_is_told<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put("k", "0123456789").await?;
    for (span, expected) in [
        (Span::Whole, 10),
        (Span::Range { offset: 0, len: 1 }, 1),
        (Span::Range { offset: 3, len: 4 }, 4),
        (Span::Range { offset: 7, len: 100 }, 3),
    ] {
        let response = get(t, "k", span).await?;
        ensure_eq!(response.len, expected, "length of {span:?}");
        ensure_eq!(read(response).await?.len() as u64, expected, "bytes of {span:?}");
    }
    t.put("empty", "").await?;
    ensure_eq!(get(t, "empty", Span::Whole).await?.len, 0, "length of nothing");
    Ok(())
}
