//! Exclusive locks of files, which the operating system releases when their process ends.

use std::fs::{File, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for which a lock that is taken is tried again.
///
/// A lock may outlive its owner for moments: a process that the owner is just starting has the file open until it
/// executes its program. And who asks whether a process has the state open holds a shared lock for the moment of the
/// question.
const PATIENCE: Duration = Duration::from_millis(500);
/// Interval between two tries.
const AGAIN: Duration = Duration::from_millis(5);

/// Locks a file. Fails with `WouldBlock` if somebody else keeps it locked.
pub(crate) fn lock_exclusively(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => sleep(AGAIN),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_back_at_once_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        let other = File::open(&path).unwrap();
        assert!(matches!(lock_exclusively(&other), Err(TryLockError::WouldBlock)), "it is kept");
        let releases = std::thread::spawn(move || {
            sleep(AGAIN);
            drop(holder);
        });
        assert!(lock_exclusively(&other).is_ok());
        releases.join().unwrap();
    }
}
