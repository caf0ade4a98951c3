//! The web page of a run, and the same page in a browser (`make ui-check`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use migration_core::object::Attributes;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{FROM, TO, World, ended};

const LIMIT: Duration = Duration::from_mins(2);
/// A key that would be markup, a formula, an escape of a terminal and more than one line.
const HOSTILE: &str = "=cmd|';=1+1;<img src=x onerror=alert(1)><script>alert(2)</script>\u{1b}[2J\"\r\n\u{202e}&amp;";

/// A page that a program serves.
struct Page {
    port: u16,
    token: String,
}

impl Page {
    /// Reads the address that a program prints, after its notices.
    async fn of(program: &mut Child) -> Self {
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
        let found = loop {
            let line = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().expect("the address is printed");
            if let Some((_, found)) = line.split_once("http://127.0.0.1:") {
                break found.to_owned();
            }
        };
        // The program must be able to go on writing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (port, token) = found.split_once("/#token=").unwrap();
        Self { port: port.parse().unwrap(), token: token.to_owned() }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}/#token={}", self.port, self.token)
    }

    /// Returns status and body.
    async fn get(&self, path: &str, token: &str) -> (u16, String) {
        let Self { port, .. } = self;
        let mut stream = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
        let head = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Returns the names of the jobs in the list.
    async fn jobs(&self) -> Vec<String> {
        let (_, list) = self.get("/api/v1/jobs", &self.token).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let jobs = list["jobs"].as_array().unwrap();
        jobs.iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn job(&self) -> Option<Value> {
        let (status, body) = self.get("/api/v1/namespaces/default/jobs/job", &self.token).await;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Waits until a job is as wanted.
    async fn waits_for(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                match self.job().await {
                    Some(page) if is_wanted(&page["job"]) => return page,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(LIMIT, found).await.expect("the page shows it")
    }
}

/// A key of 1,024 bytes that can't be moved below another prefix.
fn long_hostile_key(number: usize) -> String {
    let start = format!("{HOSTILE}{number}");
    format!("{start}{}", "é".repeat((1_024 - start.len()) / 2))
}

/// Fills a source, of which some objects fail: they are archived, or have a key that is too long for the destination.
async fn fill(world: &World, objects: usize, size: usize) -> usize {
    for number in 0..objects {
        world.put(&format!("photos/{:03}/{number:06}.jpg", number / 50), vec![7; size]).await;
    }
    for number in 0..3 {
        world.put(&long_hostile_key(number), vec![1; 10]).await;
    }
    for number in 0..20 {
        let archived = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
        world.put_with(&format!("archive/{number:03}.tar"), vec![2; 5_000], &archived).await;
    }
    let manifest = world
        .manifest(FROM, TO)
        .replace(&format!("destinationBucket: {TO}"), &format!("destinationBucket: {TO}, destinationPrefix: copy/"));
    world.write_manifest("job.yaml", &manifest.replace("spec:\n", "spec:\n  verify: {mode: Full}\n"));
    23
}

/// Makes another job of the same state directory, and returns its directory.
fn another_job(world: &World) -> PathBuf {
    let jobs = world.path("state").join("default");
    let other = jobs.join("other");
    std::fs::create_dir(&other).unwrap();
    let resource = std::fs::read_to_string(jobs.join("job/job.json")).unwrap();
    std::fs::write(other.join("job.json"), resource.replace("\"name\":\"job\"", "\"name\":\"other\"")).unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_run_has_the_numbers_of_the_status() {
    let world = World::start(Duration::ZERO).await;
    let failed = fill(&world, 60, 100).await;
    let planned = world.run(&["plan", "job.yaml"]).await;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let other = another_job(&world);
    // Held by its limit until the page was looked at.
    let mut run = world.program(&["run", "job.yaml", "--ui", "--request-limit", "20"]);
    let page = Page::of(&mut run).await;
    let live = page.waits_for(|job| job["numbers"]["objects"].as_u64() > Some(0)).await;
    for (path, token, status) in [
        ("/api/v1/jobs", "", 401),
        ("/api/v1/jobs", "0000", 401),
        ("/api/v1/jobs", page.token.as_str(), 200),
        ("/api/v1/namespaces/default/jobs/none", page.token.as_str(), 404),
    ] {
        assert_eq!(page.get(path, token).await.0, status, "{path}");
    }
    assert!(live["since"].as_i64() > Some(0) && !live["series"]["at"].as_array().unwrap().is_empty(), "{live}");
    assert!(live["job"]["plan"]["plan"]["totalCost"].is_number(), "{live}");
    let (_, scan) = page.get("/api/v1/namespaces/default/jobs/job/scan", &page.token).await;
    let scan: Value = serde_json::from_str(&scan).unwrap();
    let found = ["copy", "fail"].map(|what| scan[what]["objects"].as_u64().unwrap());
    assert!(found.iter().sum::<u64>() > 0 && scan["leastCost"].is_null(), "{scan}");
    assert_eq!(scan["run"], live["job"]["run"]);
    assert_eq!(page.jobs().await, ["job"], "the others are left alone");
    std::fs::remove_dir_all(other).unwrap();
    assert_eq!(ended(run).await.code, Some(3));

    let mut shown = world.program(&["ui"]);
    let page = Page::of(&mut shown).await;
    let last = page.waits_for(|job| job["phase"] == "PartiallyFailed").await;
    let status: Value = serde_json::from_str(world.run(&["status", "-o", "json"]).await.out.trim()).unwrap();
    let numbers = &last["job"]["numbers"];
    assert_eq!(format!("{}/{}", numbers["done"], numbers["objects"]), status["objects"].as_str().unwrap());
    assert_eq!((&numbers["failed"], &status["failed"]), (&failed.into(), &failed.into()));
    assert_eq!((&last["job"]["phase"], &last["job"]["run"]), (&status["phase"], &status["run"]));
    assert_eq!(last["job"]["runs"].as_array().unwrap().len(), 1);
    assert!(last["job"]["verification"]["whole"].is_boolean(), "{last}");

    let failures = "/api/v1/namespaces/default/jobs/job/failures";
    let (_, rows) = page.get(&format!("{failures}?class=KeyNotMappable"), &page.token).await;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows["failures"][0]["key"], long_hostile_key(0), "the exact key, in JSON");
    let (_, file) = page.get(&format!("{failures}.csv"), &page.token).await;
    assert_eq!(file.lines().count(), failed + 1, "{file}");
    assert!(!file.contains('\u{1b}') && !file.contains('\u{202e}'), "{file:?}");
    assert_harmless(&file);
    shown.start_kill().unwrap();
    shown.wait().await.unwrap();
}

/// No cell of a CSV file is a formula, also where cells end at a semicolon.
fn assert_harmless(file: &str) {
    for row in csv::Reader::from_reader(file.as_bytes()).records() {
        let row = row.unwrap();
        assert_eq!(&row[0], "originals");
        for part in row.iter().flat_map(|cell| cell.split(';')) {
            assert!(!part.trim_start().starts_with(['=', '+', '-', '@', '|']), "{part} in {file}");
        }
    }
}

/// Runs the checks in Chromium, and writes the pictures: `make ui-check`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: make ui-check"]
async fn the_page_in_a_browser() {
    let world = World::start(Duration::ZERO).await;
    let failed = fill(&world, 2_000, 50_000).await;
    assert_eq!(world.run(&["plan", "job.yaml"]).await.code, Some(0));
    let mut run = world.program(&["run", "job.yaml", "--ui", "--bandwidth-limit", "2M"]);
    let page = Page::of(&mut run).await;
    browse(&world, "run", &page, failed).await;
    let end = ended(run).await;
    assert_eq!(end.code, Some(3), "{end:?}");

    // Keys that are too long below this prefix: they fail in the scan, without a request each.
    let world = World::start(Duration::ZERO).await;
    let many = 100_000;
    for number in 0..many {
        world.put(&format!("many/{number:022}"), Vec::new()).await;
    }
    let prefix = "x".repeat(1_000);
    let manifest = world.manifest(FROM, TO);
    let pair = format!("destinationBucket: {TO}, destinationPrefix: {prefix}");
    world.write_manifest("job.yaml", &manifest.replace(&format!("destinationBucket: {TO}"), &pair));
    assert_eq!(world.run(&["run", "job.yaml", "--quiet"]).await.code, Some(3));
    let mut shown = world.program(&["ui"]);
    let page = Page::of(&mut shown).await;
    browse(&world, "many", &page, many).await;
    shown.start_kill().unwrap();
    shown.wait().await.unwrap();
}

/// Runs a part of the script.
async fn browse(world: &World, part: &str, page: &Page, failed: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut script = Command::new("node");
    let script = script.arg(root.join("kind-tests/ui/check.mjs")).arg(part).arg(page.address());
    let script = script.env("STATUS_PROGRAM", env!("CARGO_BIN_EXE_s3migrate")).env("STATE_DIR", world.path("state"));
    let script = script.env("FAILED", failed.to_string()).env("PICTURES", root.join("docs/ui"));
    let status = timeout(5 * LIMIT, script.stdin(Stdio::null()).status()).await.unwrap().unwrap();
    assert!(status.success(), "{part}: {status}");
}
