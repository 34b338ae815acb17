//! Base64 (RFC 4648), of the text alone and within something larger.

use std::collections::BTreeSet;

use base64::{
    Engine,
    engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};

/// Characters a line: PEM (RFC 7468, section 2) and `openssl base64`; MIME (RFC 2045, section 6.8) and coreutils.
const LINES: [usize; 2] = [64, 76];

/// Longest text that is also known where lines end within it, as passwords and tokens do in a longer text that is wrapped: there
/// are as many of these forms as it has characters, three times.
const MAX_WRAPPED_WITHIN: usize = 96;

/// Adds the text alone, with and without padding, the same with a line end (`echo "$secret" | base64`), and what is the
/// same of it wherever it stands within something larger.
pub(super) fn add(text: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    let line = [text, b"\n"].concat();
    for engine in [STANDARD, URL_SAFE] {
        for whole in [text, &line] {
            forms.insert(engine.encode(whole).into_bytes());
        }
    }
    for whole in [text, &line] {
        let encoded = STANDARD.encode(whole);
        for width in LINES.into_iter().filter(|width| encoded.len() > *width) {
            forms.insert(wrapped(encoded.as_bytes(), width, width));
        }
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(text).into_bytes());
    }
    for bytes_before in 0..3 {
        let encoded = within(&STANDARD_NO_PAD, text, bytes_before);
        if text.len() <= MAX_WRAPPED_WITHIN {
            for (first, width) in (1..encoded.len()).flat_map(|first| LINES.map(|width| (first, width))) {
                forms.insert(wrapped(&encoded, first, width));
            }
        }
        forms.insert(encoded);
        forms.insert(within(&URL_SAFE_NO_PAD, text, bytes_before));
    }
}

/// With a line end after so many characters, and after every line from there on.
fn wrapped(encoded: &[u8], first: usize, width: usize) -> Vec<u8> {
    let (begun, rest) = encoded.split_at(first);
    let lines: Vec<&[u8]> = std::iter::once(begun).chain(rest.chunks(width)).collect();
    lines.join(&b'\n')
}

/// The characters that depend on nothing but the text, when it begins `bytes_before` bytes after a group of three.
fn within(engine: &GeneralPurpose, text: &[u8], bytes_before: usize) -> Vec<u8> {
    let mut padded = vec![0; bytes_before];
    padded.extend_from_slice(text);
    let mut encoded = engine.encode(&padded).into_bytes();
    // a character has six bits: the last one is the text's own only when all six are
    encoded.truncate(padded.len() * 8 / 6);
    encoded.drain(..(bytes_before * 8).div_ceil(6));
    encoded
}
