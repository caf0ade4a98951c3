//! Progress bars on a terminal.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use migration_core::printable::printable;

use super::lines::MORE_FAILURES;
use super::{Display, words};
use crate::event::{Event, InTransfer, Progress};

/// Interval between two frames of a spinner.
const TICK: Duration = Duration::from_millis(120);
/// Failed objects, and failed attempts, that get a line of their own.
const MOST_FAILURES: u32 = 20;
/// Longest part of a key that is shown, in characters.
const KEY_WIDTH: usize = 48;

/// Template of the scan.
const SPINNER: &str = "{spinner} {prefix:<8} {msg}";
/// Template of objects and bytes.
const BAR: &str = "  {prefix:<8} {wide_bar:.cyan/black.bright} {msg}";
/// Template of an object in transfer.
const LARGE_BAR: &str = "           {bar:30.green/black.bright} {msg}";

/// Draws bars: the scan, objects, bytes, and the largest objects in transfer. Lines are printed above them.
pub(super) struct Bars {
    screen: MultiProgress,
    state: Mutex<BarsState>,
}

#[derive(Default)]
struct BarsState {
    run: Option<RunBars>,
    failures: u32,
    retries: u32,
}

/// The bars of a live run.
struct RunBars {
    scan: ProgressBar,
    objects: ProgressBar,
    bytes: ProgressBar,
    large: Vec<ProgressBar>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { screen: MultiProgress::new(), state: Mutex::default() }
    }
}

impl Display for Bars {
    fn show(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Progress(progress) => {
                state.run.get_or_insert_with(|| RunBars::new(&self.screen)).update(&self.screen, progress);
                return;
            }
            Event::RunEnded { .. } => {
                if let Some(run) = state.run.take() {
                    run.clear();
                }
            }
            Event::ObjectRetried { .. } => {
                state.retries += 1;
                if state.retries > MOST_FAILURES {
                    return;
                }
            }
            Event::ObjectFailed { .. } => {
                state.failures += 1;
                if state.failures > MOST_FAILURES {
                    if state.failures == MOST_FAILURES + 1 {
                        let _ = self.screen.println(MORE_FAILURES);
                    }
                    return;
                }
            }
            _ => {}
        }
        if let Some(line) = words(event) {
            // A terminal that is gone: the run goes on.
            let _ = self.screen.println(line);
        }
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = state.run.take() {
            run.clear();
        }
    }
}

impl RunBars {
    fn new(screen: &MultiProgress) -> Self {
        let scan = screen.add(ProgressBar::new_spinner().with_style(style(SPINNER)));
        scan.set_prefix("scan");
        scan.enable_steady_tick(TICK);
        let bar = |name: &'static str| {
            let bar = screen.add(ProgressBar::new(0).with_style(style(BAR)));
            bar.set_prefix(name);
            bar
        };
        Self { scan, objects: bar("objects"), bytes: bar("bytes"), large: Vec::new() }
    }

    fn update(&mut self, screen: &MultiProgress, progress: &Progress) {
        let Progress { scanned, listed, objects, bytes, done, done_bytes, skipped, failed, rate, .. } = progress;
        let state = if *scanned { "complete" } else { "listing both sides" };
        let (listed, skipped) = (HumanCount(*listed), HumanCount(*skipped));
        self.scan.set_message(format!("{state}: {listed} objects, {skipped} in place"));
        if *scanned {
            self.scan.disable_steady_tick();
        }
        self.objects.set_length(*objects);
        self.objects.set_position(done + failed);
        let failures = if *failed > 0 { format!(", {} failed", HumanCount(*failed)) } else { String::new() };
        self.objects.set_message(format!("{}/{}{failures}", HumanCount(*done), HumanCount(*objects)));
        self.bytes.set_length(*bytes);
        self.bytes.set_position(*done_bytes);
        let eta = progress.eta_seconds.map(|s| format!(", {} left", HumanDuration(Duration::from_secs(s))));
        let (done, all, rate) = (BinaryBytes(*done_bytes), BinaryBytes(*bytes), BinaryBytes(*rate));
        self.bytes.set_message(format!("{done}/{all} {rate}/s{}", eta.unwrap_or_default()));
        self.show_large(screen, &progress.in_transfer);
    }

    fn show_large(&mut self, screen: &MultiProgress, objects: &[InTransfer]) {
        while self.large.len() > objects.len()
            && let Some(bar) = self.large.pop()
        {
            bar.finish_and_clear();
            screen.remove(&bar);
        }
        while self.large.len() < objects.len() {
            self.large.push(screen.add(ProgressBar::new(0).with_style(style(LARGE_BAR))));
        }
        for (bar, object) in self.large.iter().zip(objects) {
            bar.set_length(object.size);
            bar.set_position(object.done);
            bar.set_message(format!("{} {}", shortened(&object.key), BinaryBytes(object.size)));
        }
    }

    fn clear(self) {
        for bar in self.large.into_iter().chain([self.scan, self.objects, self.bytes]) {
            bar.finish_and_clear();
        }
    }
}

/// Returns the end of a key, which distinguishes it best.
fn shortened(key: &str) -> String {
    let shown = printable(key);
    let length = shown.chars().count();
    if length <= KEY_WIDTH {
        return shown.into_owned();
    }
    let end: String = shown.chars().skip(length - KEY_WIDTH + 1).collect();
    format!("…{end}")
}

/// Returns a style. The templates are constants of this module and valid, which a test holds.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [SPINNER, BAR, LARGE_BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn long_keys_are_cut_at_their_start() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}/end.bin", "ä".repeat(100));
        assert_eq!(shortened(&long).chars().count(), KEY_WIDTH);
        assert!(shortened(&long).ends_with("/end.bin") && shortened(&long).starts_with('…'));
    }
}
