//! A signal that arrives while the program starts.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A container's process of number 1 is not ended by a signal for which it has no handler, so that one which came too early
/// was lost: the worker went on until the end of the pod's grace period.
#[test]
fn a_signal_that_comes_before_the_configuration_is_not_lost() {
    for (program, arguments) in
        [(env!("CARGO_BIN_EXE_worker"), &[][..]), (env!("CARGO_BIN_EXE_jobsender"), &["send"][..])]
    {
        let directory = std::env::temp_dir().join(format!("worker-signals-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("config.yaml");
        assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Opens when the program opens its end: it is about to read.
        let mut writer = OpenOptions::new().write(true).open(&config).unwrap();
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        // Fails if the signal has ended the program, which its exit code shows.
        let _ = writer.write_all(b"no configuration");
        drop(writer);
        let status = child.wait().unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(status.code(), Some(2), "{program}: {status}");
    }
}
