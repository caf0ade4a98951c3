//! A scripted HTTP server that records its requests.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers.
    pub head: String,
    /// Bytes of the body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns method, target and version.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Requests received, in the order of their responses. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Mutex<Vec<Request>>>);

impl Asked {
    /// Takes the requests received since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, request: Request) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}

/// Starts a server on a loopback port and returns its address. Each connection carries one request.
pub async fn serve(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, answer) = (Asked::default(), Arc::new(answer));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (kept, answer) = (kept.clone(), answer.clone());
            tokio::spawn(async move { exchange(stream, &kept, &*answer).await });
        }
    });
    (address, asked)
}

/// Serves one request.
pub async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: &Asked,
    answer: &(impl Fn(&Request) -> Vec<u8> + ?Sized),
) {
    let Some(request) = receive(&mut stream).await else { return };
    let bytes = answer(&request);
    asked.push(request);
    // The client may have disconnected.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

/// Reads a request to its end; `None` if the connection closes before.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(received[..end].to_vec()).ok()?;
        let request = Request { head, body: received[end + 4..].to_vec() };
        let length: usize = request.header("content-length").unwrap_or("0").parse().ok()?;
        if request.body.len() >= length {
            return Some(request);
        }
    }
}

/// Builds a response.
pub fn answer(status: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}
