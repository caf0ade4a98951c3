//! Shows a run: bars on a terminal, lines elsewhere, JSON for programs, or nothing.

mod bars;
mod json;
mod lines;
mod words;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;

use crate::event::Event;

pub use words::words;

/// Shows the events of a run. Called from many tasks at once; must return quickly.
pub trait Display: Send + Sync {
    /// Shows an event.
    fn show(&self, event: &Event);

    /// Ends the display: what remains on the screen is final.
    fn end(&self) {}
}

/// Options of what a run shows.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DisplayArgs {
    /// Print one JSON object per event to standard output, and nothing else.
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,
    /// Print plain lines, even on a terminal.
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    pub plain: bool,
}

/// Creates the display that the options and the terminal ask for.
pub fn display(args: DisplayArgs) -> Arc<dyn Display> {
    if args.quiet {
        Arc::new(Nothing)
    } else if args.json {
        Arc::new(json::Json)
    } else if args.plain || !std::io::stderr().is_terminal() {
        Arc::new(lines::Lines::default())
    } else {
        Arc::new(bars::Bars::new())
    }
}

/// Shows nothing.
struct Nothing;

impl Display for Nothing {
    fn show(&self, _: &Event) {}
}
