//! The web page that shows jobs, for the operator and for `s3migrate`. It only reads.
//!
//! | module | purpose |
//! |---|---|
//! | [`view`] | what is shown of a job |
//! | [`series`] | numbers over time, of bounded size |
//! | [`board`] | the jobs with their series, and what changes of them |
//! | [`follow`] | what a follower of the board has not been sent yet |
//! | [`found`] | what the scan of a run has found, and what the run costs at least |
//! | [`route`] | what a request asks for |
//! | [`guard`] | who may ask: the trait [`Guard`], and the token of a page on loopback |
//! | [`source`] | the trait [`Source`], which reads failures from a ledger |
//! | [`export`] | failures as CSV |
//! | [`text`] | texts of others, as they may be shown |
//! | [`server`] | answers requests |
//!
//! The page is plain HTML, CSS and JavaScript, embedded as it is in `assets/`; `assets/vendor/` has the one library.

mod answer;
mod assets;
pub mod board;
mod events;
pub mod export;
pub mod follow;
pub mod found;
pub mod guard;
mod readings;
pub mod route;
pub mod series;
pub mod server;
pub mod source;
pub mod text;
pub mod view;

pub use board::Board;
pub use guard::{Guard, LoopbackGuard, Refusal, Wanted};
pub use server::Site;
pub use source::{Source, SourceError};
