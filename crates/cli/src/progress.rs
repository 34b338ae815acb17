//! What is going on, on standard error, when somebody watches it: a spinner, or a bar.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two pictures.
const TICK: Duration = Duration::from_millis(80);

/// The picture of a transfer.
const TRANSFER: &str = "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

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

/// Shows how much of something has come.
pub(crate) struct Transfer {
    bar: ProgressBar,
}

impl Transfer {
    /// A bar for that many bytes, or nothing where nobody watches.
    pub(crate) fn new(watched: bool, bytes: u64) -> Self {
        let bar = if watched { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template(TRANSFER) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// More has come.
    pub(crate) fn add(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
