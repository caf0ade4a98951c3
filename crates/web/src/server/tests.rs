use migration_core::outcome::FailureClass;
use migration_core::records::FailureRecord;
use migration_ledger::failures::FailurePage;
use migration_program::connections::{BUFFER, Impatient, STALLED};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::board::tests::view;
use crate::found::RunScan;
use crate::found::tests::run_record;
use crate::guard::{LoopbackGuard, Wanted};
use crate::source::RunFailures;

/// A run of this many pages with one failure each.
struct Pages(usize);

impl Source for Pages {
    async fn failures(&self, job: &JobName, query: &FailureQuery) -> Result<RunFailures, SourceError> {
        if query.run.as_deref() == Some("none") {
            return Err(SourceError::NoRun);
        }
        let number: usize = query.from.to_string().parse().unwrap();
        let failure = FailureRecord {
            pair: 0,
            key: format!("{}-{number}", job.name),
            size: 1,
            class: FailureClass::Refused,
            message: "no".into(),
            batch: None,
            attempts: 1,
            request_ids: vec![],
            at: 0,
        };
        let next = (number + 1 < self.0).then(|| (number + 1).to_string().parse().unwrap());
        let page = FailurePage { failures: vec![failure], next, read: 1, ..FailurePage::default() };
        Ok(RunFailures { run: "r".into(), pairs: vec![], page })
    }

    async fn scan(&self, _: &JobName) -> Result<RunScan, SourceError> {
        Ok(RunScan::of(&run_record(true), None))
    }
}

/// Admits the token `list` to lists, and `job`, with any number, to the job `a/b`.
struct Table;

impl Guard for Table {
    async fn admit(&self, token: &str, wanted: Wanted<'_>) -> Result<(), Refusal> {
        match (token.trim_end_matches(|c: char| c.is_ascii_digit()), wanted) {
            ("list", Wanted::Jobs { .. }) => Ok(()),
            ("job", Wanted::Job(job)) if (job.namespace.as_str(), job.name.as_str()) == ("a", "b") => Ok(()),
            ("list" | "job", _) => Err(Refusal::Forbidden("not yours".into())),
            ("unknown", _) => Err(Refusal::Unavailable("nobody can tell".into())),
            _ => Err(Refusal::Unauthenticated),
        }
    }

    fn is_host(&self, host: &str) -> bool {
        host == "here"
    }

    fn page_without_token(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
}

async fn served<G: Guard>(guard: impl FnOnce(u16) -> G) -> (u16, Board, Arc<Site<G, Pages>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let board = Board::new(0);
    board.set(vec![view("a", "b", 1), view("a", "other", 2)], 1);
    let site = Arc::new(Site::new(guard(port), Arc::new(Pages(3)), board.clone()));
    tokio::spawn(site.clone().serve(listener));
    (port, board, site)
}

/// Sends a request, and returns status and the whole answer.
async fn ask(port: u16, line: &str, host: &str, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

const JOB: &str = "/api/v1/namespaces/a/jobs/b";

#[tokio::test]
async fn every_request_for_data_needs_a_token_that_may_read_it() {
    let (port, ..) = served(|_| Table).await;
    let of_job =
        ["", "/events", "/failures", "/failures/counts", "/failures.csv", "/scan"].map(|end| format!("{JOB}{end}"));
    let others = ["/api/v1/jobs", "/api/v1/jobs/events", "/api/v1/nothing", "/"].map(ToOwned::to_owned);
    for path in of_job.into_iter().chain(others) {
        assert_eq!(ask(port, &format!("GET {path}"), "here", "").await.0, 401, "{path} without a token");
    }
    for (path, token, status) in [
        ("/api/v1/jobs", "list", 200),
        ("/api/v1/jobs", "job", 403),
        ("/api/v1/jobs", "other", 401),
        ("/api/v1/jobs", "unknown", 503),
        (JOB, "job", 200),
        ("/api/v1/namespaces/a/jobs/b/scan", "job", 200),
        (JOB, "list", 403),
        ("/api/v1/namespaces/a/jobs/other", "job", 403),
        ("/api/v1/namespaces/a/jobs/none", "job", 403),
        ("/api/v1/nothing", "job", 404),
        ("/nothing", "job", 404),
        ("/", "job", 200),
        ("/app.css", "", 200),
    ] {
        let (found, answer) = ask(port, &format!("GET {path}"), "here", token).await;
        assert_eq!(found, status, "{path} for {token}: {answer}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
        assert!(found == 200 || !answer.contains("\"done\""), "{answer}");
    }
}

#[tokio::test]
async fn a_job_is_not_called_gone_before_all_were_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let board = Board::new(0);
    tokio::spawn(Arc::new(Site::new(Table, Arc::new(Pages(1)), board.clone())).serve(listener));
    for end in ["", "/events", "/failures", "/failures/counts", "/failures.csv", "/scan"] {
        assert_eq!(ask(port, &format!("GET {JOB}{end}"), "here", "job").await.0, 503, "{end}");
        assert_eq!(ask(port, &format!("GET {JOB}{end}"), "here", "list").await.0, 403, "{end}");
    }
    let (status, list) = ask(port, "GET /api/v1/jobs", "here", "list").await;
    assert!(status == 200 && list.contains("\"isComplete\":false"), "{list}");
    board.set(vec![], 1);
    assert_eq!(ask(port, &format!("GET {JOB}"), "here", "job").await.0, 404);
}

#[tokio::test]
async fn other_hosts_and_other_methods_are_refused() {
    let (port, ..) = served(|port| LoopbackGuard::new("t", port)).await;
    let here = format!("localhost:{port}");
    assert_eq!(ask(port, "GET /api/v1/jobs", &here, "t").await.0, 200);
    assert_eq!(ask(port, "GET /", &here, "").await.0, 200);
    for path in ["/", "/app.css", "/api/v1/jobs"] {
        assert_eq!(ask(port, &format!("GET {path}"), &format!("evil.example:{port}"), "t").await.0, 421, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(ask(port, &format!("{method} /api/v1/jobs"), &here, "t").await.0, 405, "{method}");
    }
}

#[tokio::test]
async fn an_export_has_all_pages_and_rows_have_one() {
    let (port, ..) = served(|_| Table).await;
    let (_, rows) = ask(port, &format!("GET {JOB}/failures"), "here", "job").await;
    assert!(rows.contains("\"key\":\"b-0\"") && rows.contains("\"next\":\"1\"") && !rows.contains("b-1"), "{rows}");
    let (_, counts) = ask(port, &format!("GET {JOB}/failures/counts?after=2"), "here", "job").await;
    assert!(counts.contains("\"Refused\":{\"objects\":1") && counts.contains("\"next\":null"), "{counts}");
    let (_, file) = ask(port, &format!("GET {JOB}/failures.csv"), "here", "job").await;
    assert!(file.contains("attachment") && file.contains("bucket,key,keyEncoded"), "{file}");
    assert!(["b-0", "b-1", "b-2"].iter().all(|key| file.contains(key)), "{file}");
    assert_eq!(ask(port, &format!("GET {JOB}/failures?run=none"), "here", "job").await.0, 404);
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_board() {
    let (port, board, site) = served(|_| Table).await;
    let mut open = Vec::new();
    for number in 0..usize::try_from(STREAMS).unwrap() {
        let token = format!("job{}", number / STREAMS_OF_TOKEN);
        if number == STREAMS_OF_TOKEN {
            let (status, answer) = ask(port, &format!("GET {JOB}/events"), "here", "job0").await;
            assert_eq!(status, 503, "of the same token: {answer}");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET {JOB}/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // The headers are sent once the stream is open.
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        open.push(stream);
    }
    assert_eq!(ask(port, &format!("GET {JOB}/events"), "here", "job999").await.0, 503, "of any token");
    board.set(vec![view("a", "b", 7)], 2);
    board.close();
    timeout(Duration::from_secs(20), site.drained()).await.unwrap();
    let mut last = String::new();
    timeout(Duration::from_secs(20), open[0].read_to_string(&mut last)).await.unwrap().unwrap();
    assert!(last.contains("\"done\":7"), "{last}");
}

#[tokio::test]
async fn who_sends_nothing_keeps_nobody_from_an_answer_and_ends_no_stream() {
    let (port, board, _site) = served(|_| Table).await;
    let mut followed = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {JOB}/events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer job\r\n\r\n");
    followed.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(followed.read_u8().await.unwrap(), b'H');
    let mut idle = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    assert_eq!(ask(port, &format!("GET {JOB}"), "here", "job").await.0, 200);
    let oldest = timeout(HEADERS_WITHIN / 3, idle[0].read(&mut [0])).await.expect("the oldest had to go");
    assert_eq!(oldest.unwrap_or(0), 0);
    board.close();
    let mut rest = String::new();
    timeout(Duration::from_secs(20), followed.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.contains("event: end"), "the stream went on to its end: {rest}");
}

#[tokio::test]
async fn a_connection_keeps_no_more_than_the_longest_token_needs() {
    let (port, ..) = served(|_| Table).await;
    assert_eq!(ask(port, &format!("GET {JOB}"), "here", &"a".repeat(16_384)).await.0, 401);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // It may be closed before all was sent.
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(2 * BUFFER)).as_bytes()).await;
    let mut answer = Vec::new();
    let ended = timeout(HEADERS_WITHIN / 3, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "an unfinished header of any length is kept");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_whose_client_takes_no_answers() {
    let site = Arc::new(Site::new(Table, Arc::new(Pages(1)), Board::new(0)));
    let (mut client, server) = duplex(1_024);
    let connection = tokio::spawn(site.converse(Impatient::new(server), Kept::default()));
    let requests = "GET /app.css HTTP/1.1\r\nHost: here\r\n\r\n".repeat(20);
    client.write_all(requests.as_bytes()).await.unwrap();
    timeout(2 * STALLED, connection).await.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn exports_that_nobody_takes_keep_nobody_from_reading() {
    let board = Board::new(0);
    board.set(vec![view("a", "b", 1)], 1);
    let site = Arc::new(Site::new(Table, Arc::new(Pages(1_000_000)), board));
    let connect = async |path: &str, token: &str| {
        let (mut client, server) = duplex(512);
        tokio::spawn(site.clone().converse(Impatient::new(server), Kept::default()));
        let request = format!("GET {JOB}{path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        timeout(2 * TURN_WITHIN, client.read_exact(&mut status)).await.unwrap().unwrap();
        (String::from_utf8_lossy(&status[9..]).into_owned(), client)
    };
    let mut open = Vec::new();
    for number in 0..EXPORTS {
        let (status, client) = connect("/failures.csv", &format!("job{}", number / STREAMS_OF_TOKEN)).await;
        assert_eq!(status, "200", "export {number}");
        open.push(client);
    }
    assert_eq!(connect("/failures.csv", "job99").await.0, "503", "each keeps a page in memory");
    assert_eq!(connect("/failures", "job0").await.0, "200");
}
