//! What sort of file an artifact is.

/// What is known of nothing (RFC 2046 section 4.5.1).
const UNKNOWN: &str = "application/octet-stream";

/// The media type of a file, by its name and its first bytes.
///
/// The name decides: actions leave tables, JSON and HTML, which their bytes do not tell apart. Bytes only decide whether
/// a name that says nothing is that of a text.
pub(super) fn guess(path: &str, head: &[u8]) -> String {
    match mime_guess::from_path(path).first_raw() {
        Some(known) => known.to_owned(),
        None if is_text(head) => "text/plain; charset=utf-8".to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

fn is_text(head: &[u8]) -> bool {
    let whole = match std::str::from_utf8(head) {
        Ok(_) => true,
        // the head may end in the middle of a character
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    // what steers something else than a page of text
    let binary = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | 0x1b);
    whole && !head.is_empty() && !head.iter().any(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_and_bytes_help() {
        for (path, head, expected) in [
            ("a/summary.csv", &b"a,b"[..], "text/csv"),
            ("report.html", b"\x00\x01", "text/html"),
            ("result.json", b"", "application/json"),
            ("plot.PNG", b"text", "image/png"),
            ("data.tar.gz", b"", "application/gzip"),
            ("README", b"hello", "text/plain; charset=utf-8"),
            ("notes.of.mine", "größ".as_bytes(), "text/plain; charset=utf-8"),
            ("cut", &"größe".as_bytes()[..3], "text/plain; charset=utf-8"),
            ("latin", b"gr\xf6\xdfe", "application/octet-stream"),
            ("core", b"\x7fELF\0", "application/octet-stream"),
            ("beep", b"text\x07", "application/octet-stream"),
            ("empty", b"", "application/octet-stream"),
        ] {
            assert_eq!(guess(path, head), expected, "{path}");
        }
    }
}
