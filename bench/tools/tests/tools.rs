//! The tools as black boxes: the computed service, and the raw relay and the link in front of it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A tool under way, killed on drop.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        // Fails only if it has exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bench_tools(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-tools"));
    command.args(arguments);
    command
}

/// Starts a tool; returns the ports that it has taken, in the order of `names`.
fn start<const PORTS: usize>(arguments: &[&str], names: [&str; PORTS]) -> (Tool, [u16; PORTS]) {
    let mut tool = Tool(bench_tools(arguments).stdout(Stdio::piped()).spawn().unwrap());
    let told = BufReader::new(tool.0.stdout.take().unwrap());
    let told: BTreeMap<String, u16> = (told.lines().take(PORTS))
        .map(|line| line.unwrap().split_once(' ').map(|(name, port)| (name.to_owned(), port.parse().unwrap())).unwrap())
        .collect();
    (tool, names.map(|name| told[name]))
}

fn computed() -> (Tool, u16, u16) {
    let (tool, [port, counts]) = start(&["computed", "--port", "0", "--counts", "0"], ["port", "counts"]);
    (tool, port, counts)
}

/// Sends a request; returns the head of the answer, and its body.
fn ask(port: u16, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase(), answer[end..].to_vec())
}

fn is_ok(answer: &(String, Vec<u8>)) -> bool {
    answer.0.starts_with("http/1.1 200")
}

/// The header of an answer that has the ETag.
fn etag(answer: &(String, Vec<u8>)) -> String {
    answer.0.lines().find(|line| line.starts_with("etag:")).unwrap_or_default().to_owned()
}

#[test]
fn uploads_are_compared_with_the_computed_bytes() {
    let (_service, port, counts) = computed();
    assert!(is_ok(&ask(port, "PUT /-/b", b"300000 k\n10240 small")));
    let object = ask(port, "GET /b/k", b"");
    assert_eq!(object.1.len(), 300_000);
    let copy = ask(port, "PUT /b/copy", &object.1);
    assert!(is_ok(&copy));
    assert_eq!(etag(&copy), etag(&object), "the same bytes");
    let mut damaged = object.1.clone();
    damaged[299_999] ^= 1;
    assert!(ask(port, "PUT /b/damaged", &damaged).0.starts_with("http/1.1 400"));
    let other = ask(port, "PUT /b/other", b"a");
    assert_eq!(etag(&other), "etag: \"0cc175b9c0f1b6a831c399e269772661\"", "another content is hashed");
    let listed = String::from_utf8(ask(port, "GET /b?list-type=2", b"").1).unwrap();
    for (key, is_there) in [("k", true), ("small", true), ("copy", true), ("other", true), ("damaged", false)] {
        assert_eq!(listed.contains(&format!("<Key>{key}</Key>")), is_there, "{key}");
    }
    let counted = String::from_utf8(ask(counts, "GET /", b"").1).unwrap();
    assert!(counted.contains(r#""GetObject":1"#) && counted.contains(r#""PutObject":3"#), "{counted}");
}

#[test]
fn the_relay_copies_over_a_link_that_takes_its_time() {
    let ((_source, from, _), (_destination, to, _)) = (computed(), computed());
    let (_link, [slow]) = start(&["link", "--port", "0", "--to", &to.to_string(), "--round-trip", "100"], ["port"]);
    assert!(is_ok(&ask(from, "PUT /-/b", b"10240 k\n1048576 l")));
    assert!(is_ok(&ask(to, "PUT /b", b"")));
    let work = std::env::temp_dir().join(format!("bench-tools-{}", std::process::id()));
    let line =
        |size: u32, key: &str| format!("{size} - http://127.0.0.1:{from}/b/{key} http://127.0.0.1:{slow}/b/{key}\n");
    std::fs::write(&work, line(10_240, "k") + &line(1 << 20, "l")).unwrap();
    let began = Instant::now();
    let ended = bench_tools(&["raw-relay", "--in-flight", "1", "--work"]).arg(&work).status().unwrap();
    assert!(ended.success());
    assert!(began.elapsed() >= Duration::from_millis(300), "a handshake and two answers: {:?}", began.elapsed());
    for key in ["k", "l"] {
        let request = format!("HEAD /b/{key}");
        assert_eq!(etag(&ask(to, &request, b"")), etag(&ask(from, &request, b"")), "{key}");
    }
    std::fs::write(&work, line(10, "k")).unwrap();
    assert!(!bench_tools(&["raw-relay", "--work"]).arg(&work).status().unwrap().success(), "another size");
    std::fs::remove_file(&work).unwrap();
}
