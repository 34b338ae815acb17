//! Quoting for shells and dotenv files. The quotes around a text are not part of its form: they tell nothing.

use std::fmt::Write;

/// Characters before which bash's `printf %q` puts a backslash (`sh_backslash_quote` in its lib/sh/shquote.c).
const BASH: &str = " \t\n!\"$&'()*,;<>?[\\]^`{|}";

/// Characters that Ruby's `Shellwords.escape` leaves alone.
const RUBY: &str = "_-.,:+/@\n";

/// Every way to quote the text.
pub(super) fn forms(text: &str) -> impl Iterator<Item = String> {
    [
        // single quotes: shells, our own dotenv lines; Python's shlex.quote; python-dotenv
        text.replace('\'', r"'\''"),
        text.replace('\'', r#"'"'"'"#),
        text.replace('\'', r"\'"),
        text.replace('\\', r"\\").replace('\'', r"\'"),
        // double quotes: shells, and dotenv files that keep a text on its line
        with_backslashes(text, |_, c| "\\\"$`".contains(c)),
        with_backslashes(text, |_, c| "\\\"$`".contains(c)).replace('\n', "\\n"),
        // no quotes
        with_backslashes(text, |before, c| match c {
            '#' => before.is_none(),
            '~' => matches!(before, None | Some(':' | '=')),
            _ => BASH.contains(c),
        }),
        with_backslashes(text, |_, c| !c.is_ascii_alphanumeric() && !RUBY.contains(c)).replace('\n', "'\n'"),
        ansi_c(text, false),
        ansi_c(text, true),
    ]
    .into_iter()
}

/// A backslash before each character for which `special` says so, given the one before it.
fn with_backslashes(text: &str, special: impl Fn(Option<char>, char) -> bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut before = None;
    for character in text.chars() {
        if special(before, character) {
            quoted.push('\\');
        }
        quoted.push(character);
        before = Some(character);
    }
    quoted
}

/// Between `$'` and `'`: what bash does when there are control characters. `ascii` is for the locale C.
fn ansi_c(text: &str, ascii: bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        let letter = match character {
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'E',
            '\\' | '\'' => character,
            _ if character.is_ascii_control() || (ascii && !character.is_ascii()) => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    // writing to a string cannot fail
                    let _ = write!(quoted, "\\{byte:03o}");
                }
                continue;
            }
            _ => {
                quoted.push(character);
                continue;
            }
        };
        quoted.extend(['\\', letter]);
    }
    quoted
}
