//! The report of a run. During the run, workers write a fragment for each batch; afterwards the fragments and the
//! records of failures are merged into the files of the report.

mod files;
mod fragment;
mod merge;

pub use merge::{ReportError, write};

pub(crate) use fragment::write_fragment;
