//! Tells the service's own responses from those of a proxy, an ingress or a captive portal in front of it.
//!
//! | response | the service's own if it has |
//! |---|---|
//! | an error of S3 | a whole document `<Error>` with a `<Code>`. Source: "Error responses" in the S3 API reference |
//! | an error of STS or SNS | a document `<ErrorResponse>` with a `<Code>`. Source: "AWS query protocol", Smithy 2.0 |
//! | an error of SQS or DynamoDB | its type in `x-amzn-errortype`, `x-amzn-query-error` or the member `__type`. Source: "AWS JSON 1.0 protocol", Smithy 2.0 |
//! | a success of SQS or DynamoDB | a request id, or the content type of the protocol. Of SQS also plain JSON, as `ElasticMQ` answers: a false success there has a message delivered again at worst, since what must be known (ids of what was sent) is in the body |
//! | a success of S3 without a body | status 204, or a header of S3 |
//!
//! Responses to HEAD have no body whoever sends them: there only the status counts.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::table::Api;

/// Bytes of a body that are inspected.
const BEGINNING: usize = 1_024;

/// Returns true if an error response is the service's own. `code` is the code that the SDK found in it.
pub(super) fn is_own_error(service: Api, answer: &HttpResponse, code: Option<&str>) -> bool {
    let body = answer.body().bytes().unwrap_or_default();
    let named = match service {
        // The code of one that is cut off may be the beginning of another. Some services repeat a key unescaped.
        Api::S3 => {
            let is_ended = body.trim_ascii_end().ends_with(b"</Error>") || is_whole(body);
            root_element(body).as_deref() == Some("Error") && is_ended
        }
        Api::Sts | Api::Sns => root_element(body).as_deref() == Some("ErrorResponse"),
        Api::Sqs | Api::DynamoDb => {
            let header = |name| answer.headers().contains_key(name);
            header("x-amzn-errortype") || header("x-amzn-query-error") || contains(body, b"\"__type\"")
        }
    };
    named && code.is_some()
}

/// Describes a response that is not the service's own, without its body: proxies repeat requests in theirs.
pub(super) fn describe(answer: &HttpResponse) -> String {
    let body = match answer.body().bytes() {
        Some([]) => " without a body".to_owned(),
        Some(body) => format!(" and {} bytes", body.len()),
        None => String::new(),
    };
    let said = |name: &str| answer.headers().get(name).map(|value| format!(", {name}: {value}"));
    let headers: String = ["content-type", "server", "via"].into_iter().filter_map(said).collect();
    format!("the response is not the service's own: HTTP status {}{body}{headers}", answer.status().as_u16())
}

/// Returns the name of an XML document's root element; `None` if the body is no XML document.
fn root_element(body: &[u8]) -> Option<String> {
    let beginning = String::from_utf8_lossy(body.get(..BEGINNING).unwrap_or(body));
    let mut rest = beginning.trim_start_matches('\u{feff}').trim_start();
    while let Some((_, after)) = ["<?", "<!"].iter().find_map(|start| rest.strip_prefix(start)?.split_once('>')) {
        rest = after.trim_start();
    }
    let name = rest.strip_prefix('<')?.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next()?;
    Some(name.to_owned())
}

/// Returns true for an XML document that goes on to the end of its root. A bare `&` in a text does no harm.
pub(crate) fn is_whole(body: &[u8]) -> bool {
    let mut reader = Reader::from_reader(body.trim_ascii_start());
    reader.config_mut().allow_dangling_amp = true;
    let (mut depth, mut has_root) = (0_usize, false);
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Empty(_)) => {}
            Ok(Event::Eof) => return has_root && depth == 0,
            Ok(_) => continue,
            Err(_) => return false,
        }
        has_root = true;
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

/// Interceptor that rejects successful responses which are not the service's own, if nothing else would reveal them.
#[derive(Clone, Copy, Debug)]
pub enum OwnSuccess {
    /// For DynamoDB: an empty body would read as an absent record.
    Json,
    /// For SQS: an empty body would read as a message that was accepted.
    Queue,
    /// For S3 requests that are answered without a body.
    Empty,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotOwn(String);

impl OwnSuccess {
    fn holds(self, answer: &HttpResponse) -> bool {
        let headers = answer.headers();
        let status = answer.status().as_u16();
        if !(200..300).contains(&status) {
            return true;
        }
        let is = |kind: &str| headers.get("content-type").is_some_and(|found| found.starts_with(kind));
        let of_protocol = || is("application/x-amz-json") || headers.contains_key("x-amzn-requestid");
        match self {
            Self::Json => of_protocol(),
            Self::Queue => of_protocol() || is("application/json"),
            Self::Empty => status == 204 || headers.iter().any(|(name, _)| name.starts_with("x-amz-")),
        }
    }
}

impl Intercept for OwnSuccess {
    fn name(&self) -> &'static str {
        "OwnSuccess"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let answer = context.response();
        if self.holds(answer) { Ok(()) } else { Err(Box::new(NotOwn(describe(answer)))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> HttpResponse {
        let mut answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            answer.headers_mut().insert(*name, *value);
        }
        answer
    }

    #[test]
    fn only_a_document_of_errors_is_an_error_of_s3() {
        for (body, expected) in [
            ("<Error><Code>NoSuchKey</Code></Error>", true),
            ("<?xml version=\"1.0\"?>\n<Error xmlns=\"x\"><Code>NoSuchKey</Code></Error>", true),
            ("\u{feff}  <?xml?><!-- a --><Error/>\n", true),
            ("<Error><Code>NoSuchKey</Code><Message>a & b", false),
            ("<Error><Code>NoSuchKey</Code><Message>a & b &c</Message></Error>", true),
            ("<Error><Code>NoSuchKey</Code><Key>a<b</Key></Error>\n", true),
            ("<Error><Code>NoSuchKey", false),
            ("", false),
            ("404 page not found", false),
            ("<html><body><Error><Code>NoSuchKey</Code></Error></body></html>", false),
            ("<!DOCTYPE html><html>", false),
            ("<Errors><Code>NoSuchKey</Code></Errors>", false),
            ("{\"code\":\"NoSuchKey\"}", false),
        ] {
            assert_eq!(is_own_error(Api::S3, &answer(404, &[], body), Some("NoSuchKey")), expected, "{body}");
        }
        assert!(!is_own_error(Api::S3, &answer(404, &[], "<Error></Error>"), None));
    }

    #[test]
    fn errors_of_json_services_name_their_type() {
        let code = Some("QueueDoesNotExist");
        for (headers, body, expected) in [
            (&[][..], "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\"}", true),
            (&[("x-amzn-errortype", "QueueDoesNotExist")], "", true),
            (&[("x-amzn-query-error", "QueueDoesNotExist;Sender")], "{}", true),
            (&[], "{\"code\":\"QueueDoesNotExist\"}", false),
            (&[], "", false),
        ] {
            assert_eq!(is_own_error(Api::Sqs, &answer(400, headers, body), code), expected, "{headers:?} {body}");
        }
    }

    #[test]
    fn successes_without_a_mark_of_the_service_are_none() {
        use OwnSuccess::{Empty, Json, Queue};
        for (kind, status, headers, expected) in [
            (Json, 200, &[("content-type", "application/x-amz-json-1.0")][..], true),
            (Json, 200, &[("x-amzn-requestid", "r")], true),
            (Json, 200, &[("content-type", "text/html")], false),
            (Json, 200, &[("content-type", "application/json")], false),
            (Json, 404, &[], true),
            (Queue, 200, &[("x-amzn-requestid", "r")], true),
            (Queue, 200, &[("content-type", "application/json")], true),
            (Queue, 200, &[("content-type", "text/html")], false),
            (Queue, 200, &[], false),
            (Empty, 204, &[], true),
            (Empty, 200, &[("x-amz-request-id", "r")], true),
            (Empty, 200, &[("content-type", "text/html")], false),
        ] {
            assert_eq!(kind.holds(&answer(status, headers, "")), expected, "{kind:?} {status} {headers:?}");
        }
    }

    #[test]
    fn what_answered_is_told_without_its_body() {
        let told = describe(&answer(404, &[("content-type", "text/plain"), ("server", "nginx")], "t0k3n"));
        assert_eq!(
            told,
            "the response is not the service's own: HTTP status 404 and 5 bytes, content-type: text/plain, server: nginx"
        );
        assert!(describe(&answer(502, &[], "")).ends_with("HTTP status 502 without a body"));
    }
}
