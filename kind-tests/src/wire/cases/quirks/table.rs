//! Table of the quirks.

use std::time::Duration;

use crate::proxy::quirks::{Act, Canned, Keys, Quirk, Spelling, Times};

/// Quirks that a tree is copied under.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in the results table.
    pub name: &'static str,
    /// Deviations that the proxies add.
    pub quirks: &'static [Quirk],
    /// Returns true for keys that can't arrive and must have a failure record.
    pub fails: fn(&str) -> bool,
    /// Returns true for keys that arrive without their tags, as documented.
    pub untagged: fn(&str) -> bool,
    /// End of the quirks.
    pub ends: Ends,
}

/// End of a quirk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// At its own time.
    ByItself,
    /// When all objects but this one have arrived, within a minute. An object that alone is throttled uses up its
    /// attempts in half an hour, which the engine's tests cover in virtual time.
    WhenOthersArrived(&'static str),
}

const NOBODY: fn(&str) -> bool = |_| false;
const DENIED: fn(&str) -> bool = |key| key.starts_with("denied/");
const TAGGED: fn(&str) -> bool = |key| key.ends_with("tagged");
const SLASHES: fn(&str) -> bool = |key| key.contains("//");

const SOURCE: &str = "source";
const DESTINATION: &str = "destination";
const READS: &[&str] = &["GetObject", "HeadObject"];
const PUT: &[&str] = &["PutObject"];
const COMPLETE: &[&str] = &["CompleteMultipartUpload"];
const CREATE: &[&str] = &["CreateMultipartUpload"];
const WRITES: &[&str] = &["PutObject", "CreateMultipartUpload"];
const BODIES: &[&str] = &["PutObject", "UploadPart"];
/// Requests on objects at the destination. Listings are left out: a jobsender that can't list would have to be
/// restarted.
const OBJECTS: &[&str] =
    &["HeadObject", "PutObject", "CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload"];
const A_WHILE: Times = Times::For(Duration::from_secs(20));

const fn html(status: u16, body: &'static str) -> Canned {
    Canned { status, content_type: "text/html", body }
}

const fn xml(status: u16, body: &'static str) -> Canned {
    Canned { status, content_type: "application/xml", body }
}

const TEXT_404: Canned = Canned { status: 404, content_type: "text/plain", body: "404 page not found\n" };
const HTML_404: Canned = html(404, "<html><body><h1>404 Not Found</h1><hr>nginx</body></html>");
const EMPTY_404: Canned = Canned { status: 404, content_type: "", body: "" };
const HTML_200: Canned = html(200, "<html><body>Please sign in to the network.</body></html>");
const HTML_502: Canned = html(502, "<html><body><h1>502 Bad Gateway</h1></body></html>");
const HTML_503: Canned = html(503, "<html><body><h1>503 Service Unavailable</h1></body></html>");
const SLOW_DOWN: Canned =
    xml(503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>");
const ACCESS_DENIED: Canned = xml(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
const SIGNATURE: Canned = xml(
    403,
    "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the \
     signature you provided.</Message></Error>",
);
const NO_SUCH_UPLOAD: Canned =
    xml(404, "<Error><Code>NoSuchUpload</Code><Message>The specified upload does not exist.</Message></Error>");
const ERROR_IN_200: Canned =
    xml(200, "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>");
const NO_TAGGING: Canned = xml(
    501,
    "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not \
     implemented</Message><Header>x-amz-tagging</Header></Error>",
);
const NO_CONDITION: Canned = xml(
    501,
    "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not \
     implemented</Message><Header>If-None-Match</Header></Error>",
);
const NO_TRAILER_400: Canned =
    xml(400, "<Error><Code>InvalidRequest</Code><Message>Unsupported trailer</Message></Error>");
const NO_TRAILER_501: Canned =
    xml(501, "<Error><Code>NotImplemented</Code><Message>Transfer-Encoding is not implemented</Message></Error>");

const UPPER_CASE: Spelling = Spelling { told: |tag| tag.to_uppercase(), meant: |tag| tag.to_lowercase() };
const NO_DIGEST: Spelling = Spelling {
    told: |tag| format!("0x8{}", tag.chars().rev().collect::<String>()),
    meant: |tag| tag.strip_prefix("0x8").unwrap_or("nobody's").chars().rev().collect(),
};
/// Sixteen bytes in hex that are not the MD5: each digit is replaced.
const FALSE_DIGEST: Spelling = Spelling { told: turned, meant: turned };

fn turned(tag: &str) -> String {
    let (digest, parts) = tag.split_once('-').map_or((tag, None), |(digest, parts)| (digest, Some(parts)));
    let turn = |c: char| c.to_digit(16).and_then(|digit| char::from_digit(digit ^ 15, 16)).unwrap_or(c);
    let turned: String = digest.chars().map(turn).collect();
    parts.map_or(turned.clone(), |parts| format!("{turned}-{parts}"))
}

/// Converts `Thu, 01 Jan 2026 00:00:00 GMT` to `2026-01-01T00:00:00Z`.
fn iso_8601(date: &str) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = date.split_whitespace().skip(1);
    let (day, month, year, time) = (words.next(), words.next(), words.next(), words.next());
    let month = month.and_then(|month| MONTHS.find(month)).map_or(1, |place| place / 3 + 1);
    let or = |word: Option<&str>| word.unwrap_or("00").to_owned();
    format!("{}-{month:02}-{}T{}Z", or(year), or(day), or(time))
}

const fn always(side: &'static str, operations: &'static [&'static str], act: Act) -> Quirk {
    Quirk { side, operations, keys: Keys::All, times: Times::Always, act }
}

const fn on_keys(quirk: Quirk, keys: Keys) -> Quirk {
    Quirk { keys, ..quirk }
}

const fn at_times(quirk: Quirk, times: Times) -> Quirk {
    Quirk { times, ..quirk }
}

const fn arrives(name: &'static str, quirks: &'static [Quirk]) -> Row {
    Row { name, quirks, fails: NOBODY, untagged: NOBODY, ends: Ends::ByItself }
}

const fn fails(name: &'static str, quirks: &'static [Quirk], fails: fn(&str) -> bool) -> Row {
    Row { name, quirks, fails, untagged: NOBODY, ends: Ends::ByItself }
}

/// All rows.
pub const ROWS: &[Row] = &[
    arrives("source 404 as text for a while", &[at_times(always(SOURCE, READS, Act::Answer(TEXT_404)), A_WHILE)]),
    arrives("source 404 as HTML for a while", &[at_times(always(SOURCE, READS, Act::Answer(HTML_404)), A_WHILE)]),
    arrives(
        "source 404 without a body for a while",
        &[at_times(always(SOURCE, READS, Act::Answer(EMPTY_404)), A_WHILE)],
    ),
    arrives(
        "destination 404 of HEAD for a while",
        &[at_times(always(DESTINATION, &["HeadObject"], Act::Answer(EMPTY_404)), A_WHILE)],
    ),
    arrives(
        "destination 404 as text for a while",
        &[at_times(always(DESTINATION, BODIES, Act::Answer(TEXT_404)), A_WHILE)],
    ),
    arrives(
        "source 200 with HTML, 10 times",
        &[at_times(always(SOURCE, READS, Act::Answer(HTML_200)), Times::First(10))],
    ),
    arrives(
        "destination 200 with HTML, 10 times",
        &[at_times(always(DESTINATION, BODIES, Act::Answer(HTML_200)), Times::First(10))],
    ),
    arrives("source 502 with HTML for a while", &[at_times(always(SOURCE, READS, Act::Answer(HTML_502)), A_WHILE)]),
    arrives(
        "destination 503 with HTML for a while",
        &[at_times(always(DESTINATION, OBJECTS, Act::Answer(HTML_503)), A_WHILE)],
    ),
    arrives(
        "destination 503 of all for a while",
        &[at_times(always(DESTINATION, OBJECTS, Act::Answer(SLOW_DOWN)), A_WHILE)],
    ),
    Row {
        name: "source 503 of one key",
        quirks: &[on_keys(always(SOURCE, READS, Act::Answer(SLOW_DOWN)), Keys::Only("many/05"))],
        fails: NOBODY,
        untagged: NOBODY,
        ends: Ends::WhenOthersArrived("many/05"),
    },
    arrives("source ETags in upper case", &[always(SOURCE, &[], Act::ETags(UPPER_CASE))]),
    arrives("destination ETags in upper case", &[always(DESTINATION, &[], Act::ETags(UPPER_CASE))]),
    arrives("source ETags that are no digests", &[always(SOURCE, &[], Act::ETags(NO_DIGEST))]),
    arrives("destination ETags that are no digests", &[always(DESTINATION, &[], Act::ETags(NO_DIGEST))]),
    arrives("source ETags that look like digests", &[always(SOURCE, &[], Act::ETags(FALSE_DIGEST))]),
    arrives("destination ETags that look like digests", &[always(DESTINATION, &[], Act::ETags(FALSE_DIGEST))]),
    arrives("source without Last-Modified", &[always(SOURCE, READS, Act::Strip(&["last-modified"]))]),
    arrives("source Last-Modified in ISO 8601", &[always(SOURCE, READS, Act::Change("last-modified", iso_8601))]),
    arrives("source Expires that is no date", &[always(SOURCE, READS, Act::Add("expires", "0"))]),
    arrives("destination puts without an ETag", &[always(DESTINATION, PUT, Act::Strip(&["etag"]))]),
    arrives(
        "source Content-Encoding with aws-chunked",
        &[
            on_keys(
                always(SOURCE, READS, Act::Change("content-encoding", |value| format!("aws-chunked,{value}"))),
                Keys::Only("text.gz"),
            ),
            on_keys(always(SOURCE, READS, Act::Add("content-encoding", "aws-chunked")), Keys::Only("tagged")),
        ],
    ),
    arrives("source gzip unpacked on the way", &[always(SOURCE, &["GetObject"], Act::Unpack)]),
    arrives("source ignores If-Match", &[always(SOURCE, READS, Act::StripRequest(&["if-match"]))]),
    arrives(
        "source ignores Range, 10 times",
        &[at_times(always(SOURCE, &["GetObject"], Act::StripRequest(&["range"])), Times::First(10))],
    ),
    arrives(
        "source closes connections in the body, 10 times",
        &[at_times(always(SOURCE, &["GetObject"], Act::Cut(1_000)), Times::First(10))],
    ),
    arrives(
        "destination ignores If-None-Match of a put",
        &[always(DESTINATION, PUT, Act::StripRequest(&["if-none-match"]))],
    ),
    arrives(
        "destination ignores If-None-Match of a completion",
        &[always(DESTINATION, COMPLETE, Act::StripRequest(&["if-none-match"]))],
    ),
    arrives("destination ignores If-Match of a put", &[always(DESTINATION, PUT, Act::StripRequest(&["if-match"]))]),
    arrives(
        "destination ignores If-Match of a completion",
        &[always(DESTINATION, COMPLETE, Act::StripRequest(&["if-match"]))],
    ),
    arrives(
        "destination refuses If-None-Match of a put",
        &[always(DESTINATION, PUT, Act::Refuse("if-none-match", NO_CONDITION))],
    ),
    arrives(
        "destination refuses If-None-Match of a completion",
        &[always(DESTINATION, COMPLETE, Act::Refuse("if-none-match", NO_CONDITION))],
    ),
    arrives(
        "destination refuses If-Match of a put",
        &[always(DESTINATION, PUT, Act::Refuse("if-match", NO_CONDITION))],
    ),
    arrives(
        "destination refuses If-Match of a completion",
        &[always(DESTINATION, COMPLETE, Act::Refuse("if-match", NO_CONDITION))],
    ),
    arrives("destination drops tags of uploads", &[always(DESTINATION, CREATE, Act::StripRequest(&["x-amz-tagging"]))]),
    arrives(
        "destination refuses a trailing checksum with 400",
        &[always(DESTINATION, BODIES, Act::Refuse("x-amz-trailer", NO_TRAILER_400))],
    ),
    arrives(
        "destination refuses a trailing checksum with 501",
        &[always(DESTINATION, BODIES, Act::Refuse("x-amz-trailer", NO_TRAILER_501))],
    ),
    arrives(
        "destination refuses a trailing checksum with 403",
        &[always(DESTINATION, BODIES, Act::Refuse("x-amz-trailer", SIGNATURE))],
    ),
    arrives(
        "destination completes and answers 502",
        &[at_times(always(DESTINATION, COMPLETE, Act::AnswerAfter(HTML_502)), Times::First(2))],
    ),
    arrives(
        "destination completes and answers NoSuchUpload",
        &[at_times(always(DESTINATION, COMPLETE, Act::AnswerAfter(NO_SUCH_UPLOAD)), Times::First(2))],
    ),
    arrives(
        "destination completions answer 200 with an error",
        &[at_times(always(DESTINATION, COMPLETE, Act::Answer(ERROR_IN_200)), Times::First(2))],
    ),
    fails(
        "source signature refused for keys with //",
        &[on_keys(always(SOURCE, READS, Act::Answer(SIGNATURE)), Keys::With("//"))],
        SLASHES,
    ),
    fails(
        "destination signature refused for keys with //",
        &[on_keys(always(DESTINATION, &[], Act::Answer(SIGNATURE)), Keys::With("//"))],
        SLASHES,
    ),
    fails(
        "source denies a prefix",
        &[on_keys(always(SOURCE, READS, Act::Answer(ACCESS_DENIED)), Keys::Under("denied/"))],
        DENIED,
    ),
    fails(
        "destination denies a prefix",
        &[on_keys(always(DESTINATION, &[], Act::Answer(ACCESS_DENIED)), Keys::Under("denied/"))],
        DENIED,
    ),
    Row {
        untagged: TAGGED,
        ..arrives("destination refuses tags", &[always(DESTINATION, WRITES, Act::Refuse("x-amz-tagging", NO_TAGGING))])
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_go_there_and_back() {
        for tag in ["0cc175b9c0f1b6a831c399e269772661", "96e024ba2074fe77e8e965ba43a704be-2"] {
            for spelling in [UPPER_CASE, NO_DIGEST, FALSE_DIGEST] {
                let told = (spelling.told)(tag);
                assert_ne!(told, tag);
                assert_eq!((spelling.meant)(&told), tag);
            }
        }
    }

    #[test]
    fn a_date_is_told_in_iso_8601() {
        assert_eq!(iso_8601("Thu, 05 Feb 2026 01:02:03 GMT"), "2026-02-05T01:02:03Z");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
