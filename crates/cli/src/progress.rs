//! A spinner on standard error, when somebody watches it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two pictures.
const TICK: Duration = Duration::from_millis(80);

/// Shows that something is going on, until the first real output.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A spinner, or nothing where nobody watches.
    pub(crate) fn new(watched: bool) -> Self {
        let bar = watched.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner().tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar }
    }

    /// Says what is going on.
    pub(crate) fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(crate::output::one_line(text));
        }
    }

    /// Makes room for real output; the spinner does not come back.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
