//! Keeps strangers' text from steering the terminal.

/// What may be shown of bytes on a terminal, across the borders of chunks.
///
/// Printable text, line feeds, carriage returns, tabs and colours (SGR sequences) pass. Everything else that a terminal
/// would obey is dropped: moving the cursor, clearing, titles, clipboard access, answers into the keyboard's input.
pub(super) struct TerminalFilter {
    colour: bool,
    state: State,
    coloured: bool,
}

enum State {
    Text,
    /// Behind 0xC2, which begins both printable characters and C1 controls.
    Lead,
    /// Behind ESC.
    Escape,
    /// Behind ESC and an intermediate byte, such as in `ESC ( B`.
    Intermediate,
    /// In a control sequence: its parameters.
    Csi(Vec<u8>),
    /// In a string that the terminal would act on; whether ESC came last.
    Command(bool),
}

/// Longest parameters of a colour that are kept.
const MAX_PARAMETERS: usize = 64;

impl TerminalFilter {
    /// A filter that lets colours pass or not.
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, state: State::Text, coloured: false }
    }

    /// The bytes that may be shown.
    pub(super) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.state = self.step(byte, &mut shown);
        }
        shown
    }

    /// Forgets an unfinished sequence, and what switches colours off if any may be on.
    pub(super) fn reset(&mut self) -> &'static [u8] {
        self.state = State::Text;
        if std::mem::take(&mut self.coloured) { b"\x1b[0m" } else { b"" }
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) -> State {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => text(byte, shown),
            State::Lead => match byte {
                // U+0080 to U+009F: a terminal obeys them like ESC sequences
                0x9b => State::Csi(Vec::new()),
                0x90 | 0x98 | 0x9d | 0x9e | 0x9f => State::Command(false),
                0x80..=0x9f => State::Text,
                _ => {
                    shown.push(0xc2);
                    text(byte, shown)
                }
            },
            State::Escape => match byte {
                b'[' => State::Csi(Vec::new()),
                b']' | b'P' | b'X' | b'^' | b'_' => State::Command(false),
                0x20..=0x2f => State::Intermediate,
                0x30..=0x7e => State::Text,
                _ => text(byte, shown),
            },
            State::Intermediate => match byte {
                0x20..=0x2f => State::Intermediate,
                0x30..=0x7e => State::Text,
                _ => text(byte, shown),
            },
            State::Csi(mut parameters) => match byte {
                0x20..=0x3f => {
                    if parameters.len() <= MAX_PARAMETERS {
                        parameters.push(byte);
                    }
                    State::Csi(parameters)
                }
                b'm' => {
                    let plain = parameters.iter().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
                    if self.colour && plain && parameters.len() <= MAX_PARAMETERS {
                        shown.extend_from_slice(b"\x1b[");
                        shown.extend_from_slice(&parameters);
                        shown.push(b'm');
                        self.coloured = true;
                    }
                    State::Text
                }
                0x40..=0x7e => State::Text,
                _ => text(byte, shown),
            },
            State::Command(escape) => match byte {
                0x07 => State::Text,
                b'\\' if escape => State::Text,
                // terminals differ here; a line of text matters more than a command that has no end
                b'\n' => text(byte, shown),
                _ => State::Command(byte == 0x1b),
            },
        }
    }
}

fn text(byte: u8, shown: &mut Vec<u8>) -> State {
    match byte {
        0x1b => return State::Escape,
        0xc2 => return State::Lead,
        b'\n' | b'\r' | b'\t' => shown.push(byte),
        0x00..=0x1f | 0x7f => {}
        _ => shown.push(byte),
    }
    State::Text
}

/// The text in one line: control characters become blanks.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// JSON for people, over several lines. Strings may hold control characters that JSON need not escape.
pub(crate) fn pretty(value: &serde_json::Value) -> String {
    // a value always has a text
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], colour: bool) -> String {
        let mut filter = TerminalFilter::new(colour);
        let mut shown = filter.filter(bytes);
        shown.extend_from_slice(filter.reset());
        String::from_utf8_lossy(&shown).into_owned()
    }

    #[test]
    fn what_a_terminal_would_obey_is_dropped() {
        for (bytes, expected) in [
            (&b"plain\ttext\r\n"[..], "plain\ttext\r\n"),
            ("größer → 日本 é\n".as_bytes(), "größer → 日本 é\n"),
            (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            (b"\x1b[2J\x1b[Hcleared", "cleared"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]52;c;ZXZpbA==\x1b\\text", "text"),
            (b"\x1bPq#0;2;0\x1b\\text", "text"),
            (b"\x1b[6nask", "ask"),
            (b"\x1bcreset", "reset"),
            (b"\x1b(0line", "line"),
            (b"\x1b[?25lhidden", "hidden"),
            (b"\x1b[>4;2mkeys", "keys"),
            ("\u{9b}2Jc1 \u{85}end".as_bytes(), "c1 end"),
            (b"bell\x07 back\x08 null\0 delete\x7f", "bell back null delete"),
            (b"\x1b]unfinished\nnext", "\nnext"),
            (b"a\x1b", "a"),
        ] {
            assert_eq!(shown(bytes, true), expected, "{:?}", String::from_utf8_lossy(bytes));
            // one byte at a time: chunks end anywhere
            let mut filter = TerminalFilter::new(true);
            let mut pieces: Vec<u8> = bytes.iter().flat_map(|byte| filter.filter(&[*byte])).collect();
            pieces.extend_from_slice(filter.reset());
            assert_eq!(String::from_utf8_lossy(&pieces), expected);
        }
    }

    #[test]
    fn without_colour_none_passes() {
        assert_eq!(shown(b"\x1b[1;31mred\x1b[m", false), "red");
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc\u{9b}"), "a b [2Jc ");
    }

    #[test]
    fn pretty_json_steers_no_terminal() {
        let value = serde_json::json!({"a": "\u{9b}2J\u{7f}\u{1b}[2J"});
        assert_eq!(pretty(&value), "{\n  \"a\": \" 2J \\u001b[2J\"\n}");
    }
}
