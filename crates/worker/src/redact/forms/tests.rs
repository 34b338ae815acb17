//! One table: a text, who writes it how.

use super::*;

fn forms(text: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    add(text, &mut forms);
    forms
}

#[test]
fn every_form_of_a_text_is_known() {
    let slashes = "päss/w?rd";
    let quotes = "it's \"my\" $key";
    let lines = "one\\1\ntwo\t<2>";
    let odd = "~a=~b#c\u{1b}🦀";
    for (who, text, expected) in [
        ("nobody changes it", slashes, slashes),
        ("base64", slashes, "cMOkc3Mvdz9yZA=="),
        ("base64 without padding", slashes, "cMOkc3Mvdz9yZA"),
        ("base64, its own six bits only", slashes, "cMOkc3Mvdz9yZ"),
        ("echo | base64", slashes, "cMOkc3Mvdz9yZAo="),
        ("base64 one byte after a group", slashes, "DDpHNzL3c/cm"),
        ("base64 two bytes after a group", slashes, "ww6Rzcy93P3Jk"),
        ("base64url", "ab>?ab>?", "YWI-P2FiPj8="),
        ("base64url one byte after a group", "ab>?ab>?", "FiPj9hYj4_"),
        ("base64url two bytes after a group", "ab>?ab>?", "hYj4_YWI-P"),
        ("encodeURIComponent", slashes, "p%C3%A4ss%2Fw%3Frd"),
        ("small digits", slashes, "p%c3%a4ss%2fw%3frd"),
        ("urllib.parse.quote", slashes, "p%C3%A4ss/w%3Frd"),
        ("encodeURI", slashes, "p%C3%A4ss/w?rd"),
        ("encodeURIComponent", quotes, "it's%20%22my%22%20%24key"),
        ("a form", quotes, "it%27s+%22my%22+%24key"),
        ("a form, small digits", "a b/c=d", "a+b%2fc%3dd"),
        ("quote_plus", odd, "~a%3D~b%23c%1B%F0%9F%A6%80"),
        ("URLSearchParams", odd, "%7Ea%3D%7Eb%23c%1B%F0%9F%A6%80"),
        ("a password in a URL", "a:b@c/d&e", "a%3Ab%40c%2Fd&e"),
        ("JSON", quotes, r#"it's \"my\" $key"#),
        ("JSON by PHP", slashes, r"p\u00e4ss\/w?rd"),
        ("JSON, ASCII only", slashes, r"p\u00e4ss/w?rd"),
        ("JSON, capital digits", slashes, r"p\u00E4ss/w?rd"),
        ("JSON, slash escaped", slashes, r"päss\/w?rd"),
        ("JSON of lines", lines, r"one\\1\ntwo\t<2>"),
        ("JSON by Go", lines, r"one\\1\ntwo\t\u003c2\u003e"),
        ("JSON by .NET", quotes, r"it\u0027s \u0022my\u0022 $key"),
        ("JSON beyond the BMP", odd, r"~a=~b#c\u001b\ud83e\udd80"),
        ("JSON beyond the BMP, capital", odd, r"~a=~b#c\u001B\uD83E\uDD80"),
        ("repr", "a\\b\"c\nd", r#"a\\b"c\nd"#),
        ("repr of a control character", odd, r"~a=~b#c\x1b🦀"),
        ("console.log of a control character", odd, r"~a=~b#c\x1B🦀"),
        ("{:?}", "a\"b\u{1b}'\\", r#"a\"b\u{1b}'\\"#),
        ("an error of the YAML parser", "a\"b\u{1b}\\\n", r#"a"b\u{1b}\\n"#),
        ("shell, single quotes", quotes, r#"it'\''s "my" $key"#),
        ("shlex.quote", quotes, r#"it'"'"'s "my" $key"#),
        ("python-dotenv", quotes, r#"it\'s "my" $key"#),
        ("shell, double quotes", quotes, r#"it's \"my\" \$key"#),
        ("dotenv, double quotes", "a\"b\nc$d", r#"a\"b\nc\$d"#),
        ("printf %q", quotes, r#"it\'s\ \"my\"\ \$key"#),
        ("printf %q", "~a=~b#c", r"\~a=\~b#c"),
        ("printf %q of a control character", odd, r"~a=~b#c\E🦀"),
        ("the same in the locale C", odd, r"~a=~b#c\E\360\237\246\200"),
        ("Shellwords.escape", "é=1 2\n3", "\\é\\=1\\ 2'\n'3"),
    ] {
        let forms = forms(text);
        let shown: Vec<_> = forms.iter().map(|form| String::from_utf8_lossy(form)).collect();
        assert!(forms.contains(expected.as_bytes()), "{who}: {expected}\n{shown:#?}");
    }
}

#[test]
fn long_base64_is_known_on_lines_of_64_and_76_characters() {
    let text = "0123456789".repeat(10);
    let forms = forms(&text);
    let encoded = ::base64::Engine::encode(&::base64::engine::general_purpose::STANDARD, &text);
    for width in [64, 76] {
        let (first, rest) = encoded.split_at(width);
        let (second, third) = rest.split_at(width.min(rest.len()));
        let wrapped = [first, second, third].join("\n");
        assert!(forms.contains(wrapped.trim_end().as_bytes()), "{wrapped}");
    }
}

#[test]
fn base64_within_something_longer_is_known_wherever_a_line_ends() {
    for length in [6, 20, 48, 96] {
        let text = &"0123456789abcdefghijklmnopqrstuvwxyz".repeat(3)[..length];
        let forms = forms(text);
        for (before, width) in (0..80).flat_map(|before| [64, 76].map(|width| (before, width))) {
            let longer = format!("{}{text}{}", "<".repeat(before), ">".repeat(3));
            let encoded = ::base64::Engine::encode(&::base64::engine::general_purpose::STANDARD, longer);
            let lines: Vec<_> = encoded.as_bytes().chunks(width).collect();
            let written = lines.join(&b'\n');
            let hidden = forms
                .iter()
                .any(|form| form.len() >= length && written.windows(form.len()).any(|part| part == form));
            assert!(hidden, "{length} bytes after {before}: {}", String::from_utf8_lossy(&written));
        }
    }
}

#[test]
fn a_plain_text_has_few_forms() {
    let forms = forms("correcthorse1");
    let lines = |form: &&Vec<u8>| form.contains(&b'\n');
    assert_eq!(
        forms.iter().filter(lines).count(),
        47,
        "base64 in three alignments, with a line end anywhere"
    );
    let whole = forms.iter().filter(|form| !lines(form));
    let shown: Vec<_> = whole.map(|form| String::from_utf8_lossy(form)).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    NvcnJlY3Rob3JzZT
    Y29ycmVjdGhvcnNlM
    Y29ycmVjdGhvcnNlMQ
    Y29ycmVjdGhvcnNlMQ==
    Y29ycmVjdGhvcnNlMQo=
    correcthorse1
    jb3JyZWN0aG9yc2Ux
    ");
}
