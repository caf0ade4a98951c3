//! Programs that are stopped when their value is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, ffi::OsString};

use anyhow::{Context as _, bail, ensure};

use crate::process::signal;
use crate::wait::until;

/// Interval between checks whether a program has exited.
const INTERVAL: Duration = Duration::from_millis(10);

/// A running program, killed on drop.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program with its output in a log of the same name. It gets only the environment variables that it
    /// needs, since others may hold credentials.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
        let kept = ["PATH", "HOME", "TMPDIR", "RUST_LOG"].into_iter().filter_map(|n| Some((n, env::var_os(n)?)));
        let own: Vec<(OsString, Option<OsString>)> =
            command.get_envs().map(|(n, v)| (n.to_owned(), v.map(ToOwned::to_owned))).collect();
        command.env_clear().envs(kept).envs(own.into_iter().filter_map(|(n, v)| Some((n, v?))));
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("failed to share a log")?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Returns the name of the program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has exited.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} ended with {status}: {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Returns how it ended; `None` while it runs.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("failed to watch {}", self.name))
    }

    fn last_words(&self) -> String {
        let log = self.log();
        log.lines().last().unwrap_or("it printed nothing").to_owned()
    }

    /// Waits until it exits; fails if it does not succeed within the limit. Returns the last line of its output.
    pub async fn finished(mut self, limit: Duration) -> anyhow::Result<String> {
        let what = format!("{} to exit", self.name);
        let status = until(&what, limit, INTERVAL, async || self.ended()).await?;
        ensure!(status.success(), "{} ended with {status}: {}", self.name, self.last_words());
        Ok(self.last_words())
    }

    /// Waits until it exits, successfully or not. Returns its exit code (`None` after a signal) and its output.
    pub async fn ended_with(mut self, limit: Duration) -> anyhow::Result<(Option<i32>, String)> {
        let what = format!("{} to exit", self.name);
        let status = until(&what, limit, INTERVAL, async || self.ended()).await?;
        Ok((status.code(), self.log()))
    }

    /// Returns the peak of its resident memory, in bytes.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|n| n.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("failed to find VmHWM in {path}"))? << 10)
    }

    /// Stops it with SIGSTOP, so that its work in progress can be inspected before it is killed.
    pub fn freeze(&self) -> anyhow::Result<()> {
        signal("STOP", self.child.id())
    }

    /// Kills it with SIGKILL and waits until it has exited.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("failed to kill {}", self.name))?;
        self.child.wait().with_context(|| format!("failed to wait for {}", self.name)).map(drop)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of a program of this workspace: in the parent of this program's directory, or in the directory
/// named by the environment variable `PROGRAMS`.
pub fn own(name: &str) -> anyhow::Result<PathBuf> {
    let directory = if let Some(directory) = env::var_os("PROGRAMS") {
        PathBuf::from(directory)
    } else {
        let here = env::current_exe().context("failed to find this program")?;
        here.ancestors().nth(2).context("failed to find the programs: this one is in no directory")?.to_owned()
    };
    let path = directory.join(name);
    ensure!(path.is_file(), "failed to find the program {}: run make build", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a script. Each `name` has a log of its own, since the tests run at the same time.
    fn start(name: &str, script: &str) -> Program {
        Program::start(name, &env::temp_dir(), Command::new("sh").args(["-c", script])).unwrap()
    }

    #[tokio::test]
    async fn a_bad_end_is_told_with_its_last_words() {
        let program = start("fails", "echo first; echo second; exit 3");
        let error = program.finished(Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains("second") && error.to_string().contains('3'), "{error}");
    }

    #[tokio::test]
    async fn what_is_frozen_can_be_looked_at_and_killed() {
        let mut program = start("sleeps", "exec sleep 60");
        assert!(program.peak_memory().unwrap() > 0);
        program.freeze().unwrap();
        program.check_running().unwrap();
        let id = program.child.id();
        program.kill().unwrap();
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
