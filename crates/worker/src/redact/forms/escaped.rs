//! Backslash escapes within quotes: JSON strings (RFC 8259, section 7) as different libraries write them, and the
//! strings of programming languages.

use std::fmt::Write;

/// Characters that some JSON libraries write as `\uXXXX` although they need not.
const ESCAPED_TOO: [&str; 3] = [
    "",    // Go's encoding/json, Ruby on Rails: safe within HTML
    "<>&", // .NET's System.Text.Json
    "\"&'+<>`",
];

/// Characters beyond ASCII, and those that have no other escape.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    /// Only where nothing else is possible; digits are small.
    Small,
    /// The same with capital digits.
    Capital,
    /// Everything beyond ASCII too; digits are small.
    AsciiSmall,
    /// The same with capital digits.
    AsciiCapital,
    /// As Python does it: `\x1b`.
    Hex,
    /// As JavaScript does it: `\x1B`.
    HexCapital,
}

/// How a string is written.
#[derive(Clone, Copy)]
struct Style {
    /// What is written by number.
    numbers: Numbers,
    /// Characters that are written by number as well.
    too: &'static str,
    /// Characters that get a backslash: `"` not within single quotes, `/` by PHP.
    backslash: &'static str,
}

/// The text in every style.
pub(super) fn forms(text: &str) -> impl Iterator<Item = String> + '_ {
    let numbers = [Numbers::Small, Numbers::Capital, Numbers::AsciiSmall, Numbers::AsciiCapital];
    let json = numbers.into_iter().flat_map(|numbers| {
        ESCAPED_TOO.into_iter().flat_map(move |too| {
            ["\\\"", "\\\"/"].into_iter().map(move |backslash| Style { numbers, too, backslash })
        })
    });
    // Python's repr() and the like, within the quotes that the text does not contain
    let plain =
        [Numbers::Hex, Numbers::HexCapital].map(|numbers| Style { numbers, too: "", backslash: "\\" });
    json.chain(plain).map(|style| escape(text, style)).chain(rust(text))
}

/// Rust's `{:?}` without its quotes; and what the YAML parser makes of a text that it quotes in an error.
fn rust(text: &str) -> [String; 2] {
    let debug = format!("{text:?}");
    let mut controls = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            controls.extend(character.escape_debug());
        } else {
            controls.push(character);
        }
    }
    [debug[1..debug.len() - 1].to_owned(), controls]
}

/// Written here because libraries write one style each.
fn escape(text: &str, style: Style) -> String {
    let ascii = matches!(style.numbers, Numbers::AsciiSmall | Numbers::AsciiCapital);
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let letter = match character {
            _ if style.too.contains(character) => None,
            _ if style.backslash.contains(character) => Some(character),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\0'..' ' => None,
            _ if ascii && !character.is_ascii() => None,
            _ => {
                escaped.push(character);
                continue;
            }
        };
        match letter {
            Some(letter) => escaped.extend(['\\', letter]),
            None => by_number(character, style.numbers, &mut escaped),
        }
    }
    escaped
}

fn by_number(character: char, numbers: Numbers, escaped: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // writing to a string cannot fail
        let _ = match numbers {
            Numbers::Small | Numbers::AsciiSmall => write!(escaped, "\\u{unit:04x}"),
            Numbers::Capital | Numbers::AsciiCapital => write!(escaped, "\\u{unit:04X}"),
            Numbers::Hex => write!(escaped, "\\x{unit:02x}"),
            Numbers::HexCapital => write!(escaped, "\\x{unit:02X}"),
        };
    }
}
