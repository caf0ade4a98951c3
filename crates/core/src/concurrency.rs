//! Limits what is in flight at once: requests to one bucket to the rate that its service accepts, and the objects of a
//! worker to the number from which on they only wait for each other.

mod files;
mod knee;
mod window;

pub use files::{FilesPerWorker, FilesPerWorkerError};
pub use knee::{FinishedObject, Knee, RequestKind};
pub use window::Window;
