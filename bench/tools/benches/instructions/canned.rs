//! An S3 service whose answers are written beforehand.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// Bytes of an object.
pub const BODY: usize = 10 << 10;
/// Keys of a page.
pub const KEYS: u32 = 1_000;

/// Answers, by kind of request.
struct Answers {
    list: Vec<u8>,
    head: Vec<u8>,
    get: Vec<u8>,
    put: Vec<u8>,
}

/// Starts the service. It ends with this process; returns its port.
pub fn serve() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let answers = Arc::new(Answers::new()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            thread::spawn(move || answers.give(&stream));
        }
    });
    Ok(port)
}

impl Answers {
    fn new() -> anyhow::Result<Self> {
        let page = page();
        let object = "Last-Modified: Mon, 30 Nov 2026 10:00:00 GMT\r\nETag: \"9e107d9d372bb6826bd81d3542a419d6\"\r\n\
             x-amz-meta-mtime: 1700000000.123\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n";
        let head = answer(object, BODY, &[])?;
        Ok(Self {
            list: answer("Content-Type: application/xml\r\n", page.len(), page.as_bytes())?,
            get: [head.as_slice(), &[b'x'; BODY]].concat(),
            head,
            put: answer("ETag: \"9e107d9d372bb6826bd81d3542a419d6\"\r\n", 0, &[])?,
        })
    }

    /// Answers the requests of a connection, to its end.
    fn give(&self, stream: &TcpStream) {
        let mut requests = BufReader::new(stream);
        while let Some(answer) = self.next(&mut requests) {
            let mut stream = stream;
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }

    /// Reads a request and chooses its answer; `None` at the end.
    fn next(&self, requests: &mut BufReader<&TcpStream>) -> Option<&[u8]> {
        let (mut first, mut len) = (String::new(), 0);
        if requests.read_line(&mut first).ok()? == 0 {
            return None;
        }
        loop {
            let mut line = String::new();
            requests.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                len = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut requests.take(len), &mut std::io::sink()).ok()?;
        Some(match first.split(' ').next()? {
            "HEAD" => &self.head,
            "PUT" => &self.put,
            _ if first.contains("list-type=2") => &self.list,
            _ => &self.get,
        })
    }
}

/// Writes an answer, with the headers that S3 always sends.
fn answer(headers: &str, len: usize, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let date =
        DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).context("failed to write the date")?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-amz-id-2: Yo1/2XR3b4l0pTJyqm7Tz0aZ5yc8Vh9wq1A2b3C4d5E6f7G8h9I0jK=\r\n\
         x-amz-request-id: 4442587FB7D0A2F9\r\nDate: {date}\r\nx-amz-server-side-encryption: AES256\r\n\
         {headers}Server: AmazonS3\r\nContent-Length: {len}\r\n\r\n"
    );
    Ok([head.as_bytes(), body].concat())
}

/// Writes a page of a listing. Source: "`ListObjectsV2`", S3 API reference.
fn page() -> String {
    let mut page = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bucket</Name><Prefix></Prefix><KeyCount>1000</KeyCount><MaxKeys>1000</MaxKeys>\
         <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>",
    );
    for n in 0..KEYS {
        let _ = write!(
            page,
            "<Contents><Key>data/2026/11/host-{:03}/part-{n:06}+of%26all.parquet</Key>\
             <LastModified>2026-11-30T10:00:00.000Z</LastModified>\
             <ETag>&quot;{:032x}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            n / 100,
            u128::from(n) * 0x9e37_79b9_7f4a_7c15_f39c_c060,
            n * 1_000
        );
    }
    page.push_str("</ListBucketResult>");
    page
}
