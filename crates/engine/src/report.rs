//! The report of a run. While it goes on, workers write a piece for each batch; when it is over, the pieces and the
//! records of failures are joined into the files of the report.

mod files;
mod fragment;
mod merge;

pub use merge::{ReportError, write};

pub(crate) use fragment::write_fragment;
