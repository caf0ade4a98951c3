//! Background programs, identified by process id and start time, so that a reused id is not mistaken for one.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::net::TcpStream;

use crate::paths;
use crate::wait::until;

/// Starts a program in its own process group, with its output in a log and its id in a file; both are named after it.
pub fn start(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let state = paths::state()?;
    let log = state.join(format!("{name}.log"));
    let output = File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stderr(output.try_clone().context("failed to share a log")?)
        .stdout(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    let began = began(child.id()).with_context(|| format!("failed to start {name}: see {}", log.display()))?;
    fs::write(state.join(format!("{name}.pid")), format!("{} {began}", child.id()))
        .context("failed to record a process")
}

/// Waits until a program listens on an address; fails if it exits first, or after half a minute.
pub async fn listening(name: &str, address: SocketAddr) -> anyhow::Result<()> {
    until(&format!("{name} to listen on {address}"), Duration::from_secs(30), Duration::from_millis(50), async || {
        ensure!(running(name)?, "{name} exited: see {}", paths::state()?.join(format!("{name}.log")).display());
        Ok(TcpStream::connect(address).await.ok().map(drop))
    })
    .await
}

/// Returns true if a program that was started is still running.
pub fn running(name: &str) -> anyhow::Result<bool> {
    Ok(noted(&paths::state()?.join(format!("{name}.pid"))).is_some())
}

/// Stops a program if it is running, and waits until it has exited.
pub async fn stop(name: &str) -> anyhow::Result<()> {
    let file = paths::state()?.join(format!("{name}.pid"));
    if let Some(pid) = noted(&file) {
        signal("TERM", pid)?;
        let gone = until(name, Duration::from_secs(5), Duration::from_millis(50), async || {
            Ok(noted(&file).is_none().then_some(()))
        });
        if gone.await.is_err() {
            signal("KILL", pid)?;
            until(&format!("{name} to exit"), Duration::from_secs(10), Duration::from_millis(50), async || {
                Ok(noted(&file).is_none().then_some(()))
            })
            .await?;
        }
    }
    match fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => bail!("failed to remove {}: {e}", file.display()),
        _ => Ok(()),
    }
}

/// Sends a signal to a process.
pub fn signal(signal: &str, pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    status.context("failed to run kill")?;
    Ok(())
}

/// Returns the process recorded in a file, if that very process is still running.
fn noted(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, start) = text.split_once(' ')?;
    let pid = pid.parse().ok()?;
    (began(pid).as_deref() == Some(start)).then_some(pid)
}

/// Returns the start time of a process in kernel ticks; `None` if it has exited, reaped or not.
fn began(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name may hold anything; the fields after its closing bracket may not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (*fields.first()? != "Z").then(|| fields.get(19).map(|s| (*s).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_id_is_not_taken_for_the_process() {
        let directory = std::env::temp_dir().join(format!("kind-tests-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("x.pid");
        let me = std::process::id();
        fs::write(&file, format!("{me} {}", began(me).unwrap())).unwrap();
        assert_eq!(noted(&file), Some(me));
        fs::write(&file, format!("{me} 1")).unwrap();
        assert_eq!(noted(&file), None);
        fs::remove_dir_all(&directory).unwrap();
    }
}
