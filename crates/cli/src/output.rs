//! Everything that is written: data to standard output, remarks to standard error, colour only where it helps.

mod cells;
mod sanitise;
mod table;
mod time;

use std::io::{self, IsTerminal, Write};

use attune_common::model::LogStream;
use clap::ValueEnum;
use owo_colors::{OwoColorize, Style};
use serde::Serialize;

pub(crate) use cells::{execution_status, worker_status};
use sanitise::TerminalFilter;
pub(crate) use sanitise::{one_line, pretty};
pub(crate) use table::{Cell, Table, record};
pub(crate) use time::{ago, duration};

/// The form of what goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and lines for people
    #[default]
    Text,
    /// JSON for programs
    Json,
}

/// What a piece of text means; decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It deserves a look.
    Notice,
    /// It is going on.
    Active,
    /// It matters less.
    Dim,
    /// It matters more.
    Strong,
}

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    /// Leaves everything as it is.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };
    /// Colours.
    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self { colour: true };

    /// The text in the colour of its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => Style::new().green(),
            Tone::Bad => Style::new().red(),
            Tone::Notice => Style::new().yellow(),
            Tone::Active => Style::new().cyan(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        text.style(style).to_string()
    }
}

/// One of the two standard streams.
struct Sink {
    writer: Box<dyn Write + Send>,
    terminal: bool,
    paint: Paint,
    filter: TerminalFilter,
    line_open: bool,
}

impl Sink {
    fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        let colour = terminal
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|value| value != "dumb");
        Self {
            writer: Box::new(writer),
            terminal,
            paint: Paint { colour },
            filter: TerminalFilter::new(colour),
            line_open: false,
        }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.close_line()?;
        self.writer.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.writer.write_all(b"\n")?;
        }
        self.writer.flush()
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.terminal {
            let shown = self.filter.filter(bytes);
            if let Some(last) = shown.last() {
                self.line_open = *last != b'\n';
            }
            self.writer.write_all(&shown)?;
        } else {
            self.writer.write_all(bytes)?;
        }
        self.writer.flush()
    }

    /// Ends a line that an action left open on a terminal, and colours it left switched on. Elsewhere nothing is
    /// added to what actions write.
    fn close_line(&mut self) -> io::Result<()> {
        self.writer.write_all(self.filter.reset())?;
        if std::mem::take(&mut self.line_open) { self.writer.write_all(b"\n") } else { Ok(()) }
    }
}

/// Standard output and standard error.
pub(crate) struct Output {
    format: Format,
    stdout: Sink,
    stderr: Sink,
}

impl Output {
    /// The streams of this process.
    pub(crate) fn process(format: Format) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let terminals = (stdout.is_terminal(), stderr.is_terminal());
        Self { format, stdout: Sink::new(stdout, terminals.0), stderr: Sink::new(stderr, terminals.1) }
    }

    /// Whether programs read standard output.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether somebody watches standard error.
    pub(crate) fn is_watched(&self) -> bool {
        self.stderr.terminal
    }

    /// Colours for standard output.
    pub(crate) fn paint(&self) -> Paint {
        self.stdout.paint
    }

    /// Colours for standard error.
    pub(crate) fn note_paint(&self) -> Paint {
        self.stderr.paint
    }

    /// Writes lines of data.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        self.stdout.text(text).map_err(|error| unwritten(&error))
    }

    /// Writes one JSON document of data.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.print(&serde_json::to_string_pretty(value)?)?)
    }

    /// Writes one JSON document of data in one line, where more may follow.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.print(&serde_json::to_string(value)?)?)
    }

    /// Writes bytes of data as they are, whoever they come from: they were asked for.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.stdout.writer.write_all(bytes).and_then(|()| self.stdout.writer.flush());
        written.map_err(|error| unwritten(&error))
    }

    /// Writes a remark. One that cannot be written is nobody's loss.
    pub(crate) fn note(&mut self, text: &str) {
        self.end_raw();
        let _ = self.stderr.text(text);
    }

    /// Writes a warning.
    pub(crate) fn warn(&mut self, text: &str) {
        let word = self.stderr.paint.paint(Tone::Notice, "warning:");
        self.note(&format!("{word} {}", one_line(text)));
    }

    /// Passes on what an action wrote. Its bytes are left alone, but on a terminal control sequences other than
    /// colours are taken out: an action is a stranger, and a terminal obeys whoever writes to it.
    ///
    /// Where programs read standard output, everything goes to standard error.
    pub(crate) fn raw(&mut self, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            LogStream::Stdout if !self.is_json() => self.stdout.raw(bytes).map_err(|error| unwritten(&error)),
            LogStream::System => {
                let text = String::from_utf8_lossy(bytes);
                let text = self.stderr.paint.paint(Tone::Notice, &one_line(text.trim_end()));
                self.note(&text);
                Ok(())
            }
            LogStream::Stdout | LogStream::Stderr => {
                // as with remarks: a closed standard error loses the log, not the run
                let _ = self.stderr.raw(bytes);
                Ok(())
            }
        }
    }

    /// Ends what an action left open on a terminal.
    pub(crate) fn end_raw(&mut self) {
        let _ = self.stdout.close_line();
        let _ = self.stderr.close_line();
    }
}

fn unwritten(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}
