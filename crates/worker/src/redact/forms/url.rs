//! Percent-encoding (RFC 3986, section 2.1). Which characters are left as they are differs between libraries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters (RFC 3986, section 2.3): Go's `QueryEscape`, PHP's `rawurlencode`.
const STRICT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Python's `urllib.parse.quote`.
const WITH_SLASH: AsciiSet = STRICT.remove(b'/');

/// JavaScript's `encodeURIComponent`.
const COMPONENT: AsciiSet = STRICT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');

/// JavaScript's `encodeURI`.
const URI: AsciiSet = COMPONENT
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');

/// Forms as browsers and Java send them (<https://url.spec.whatwg.org/#application-x-www-form-urlencoded-percent-encode-set>).
const FORM: AsciiSet = NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// A password within a URL, by RFC 3986 (section 3.2.1, without the `:`).
const USER_INFO: AsciiSet =
    COMPONENT.remove(b'$').remove(b'&').remove(b'+').remove(b',').remove(b';').remove(b'=');

/// The same by Go's `url.UserPassword`.
const GO_USER_INFO: AsciiSet =
    STRICT.remove(b'$').remove(b'&').remove(b'+').remove(b',').remove(b';').remove(b'=');

/// The same by browsers (<https://url.spec.whatwg.org/#userinfo-percent-encode-set>).
const WEB_USER_INFO: AsciiSet = COMPONENT.remove(b'$').remove(b'&').remove(b'+').remove(b',').remove(b'%');

/// Go's `url.PathEscape`.
const GO_PATH: AsciiSet =
    STRICT.remove(b'$').remove(b'&').remove(b'+').remove(b':').remove(b'=').remove(b'@');

const SETS: [&AsciiSet; 9] =
    [&STRICT, &WITH_SLASH, &COMPONENT, &URI, &FORM, &USER_INFO, &GO_USER_INFO, &WEB_USER_INFO, &GO_PATH];

/// The text in every set, with capital and small digits, and a space as `%20` and as `+`.
pub(super) fn forms(text: &str) -> impl Iterator<Item = String> + '_ {
    SETS.into_iter().flat_map(|set| {
        let capital = utf8_percent_encode(text, set).to_string();
        let small = with_small_digits(&capital);
        [capital.replace("%20", "+"), small.replace("%20", "+"), capital, small]
    })
}

/// The crate writes capital digits only.
fn with_small_digits(encoded: &str) -> String {
    let mut digits = 0;
    let small = |character: char| {
        digits = if character == '%' { 2 } else { i32::max(digits - 1, -1) };
        if digits >= 0 { character.to_ascii_lowercase() } else { character }
    };
    encoded.chars().map(small).collect()
}
