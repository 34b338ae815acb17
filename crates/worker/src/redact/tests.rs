//! Nothing secret gets through, however the bytes are cut; everything else does.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A redactor for parameters that are all secret.
fn redactor(values: &Value) -> Redactor {
    let Value::Object(values) = values else { panic!("an object") };
    let schema: Map<String, Value> =
        values.keys().map(|name| (name.clone(), json!({"secret": true}))).collect();
    let schema = serde_json::from_value(Value::Object(schema)).unwrap();
    Redactor::new(&schema, &Parameters(values.clone())).unwrap()
}

/// What is shown after each piece, and at the end.
fn shown(redactor: &Redactor, pieces: &[&str]) -> Vec<String> {
    let mut stream = redactor.stream();
    let mut shown: Vec<Vec<u8>> = pieces.iter().map(|piece| stream.push(piece.as_bytes().to_vec())).collect();
    shown.push(stream.finish());
    shown.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

#[test]
fn secrets_are_masked_across_pieces_and_only_what_may_be_one_waits() {
    let redactor = redactor(&json!({"a": "hunter22", "b": "ter22-blue", "c": "hunter22xyz"}));
    for (pieces, expected) in [
        // a prompt is no beginning of a secret
        (&["Password: ", "pass"][..], &["Password: ", "pass", ""][..]),
        (&["login h", "unter2", "2\n"], &["login ", "", "********\n", ""]),
        (&["hunter", "s\n"], &["", "hunters\n", ""]),
        // a longer one could follow
        (&["hunter22", "!", "x"], &["", "********!", "x", ""]),
        (&["hunter22x", "yz"], &["", "********", ""]),
        (&["hunter22x", "yw"], &["", "********xyw", ""]),
        // overlapping and adjacent ones are one mask
        (&["(hunter22-blue)"], &["(********)", ""]),
        (&["hunter22", "hunter22", "."], &["", "********", ".", ""]),
        (&["hunter22ter22-blu"], &["********", "ter22-blu"]),
        // the end of a stream decides
        (&["say hunte"], &["say ", "hunte"]),
    ] {
        assert_eq!(shown(&redactor, pieces), expected, "{pieces:?}");
    }
}

#[test]
fn a_long_secret_is_masked_while_it_comes() {
    let secret = (0..300).map(|n| format!("{n:03}-")).collect::<Vec<_>>().concat();
    let redactor = redactor(&json!({"a": secret}));
    let pieces: Vec<&str> =
        secret.as_bytes().chunks(100).map(|piece| str::from_utf8(piece).unwrap()).collect();
    let shown = shown(&redactor, &[&["key "], &pieces[..], &[" end"]].concat());
    assert_eq!(shown[..3], ["key ", "********", ""]);
    assert_eq!(shown.concat(), "key ******** end");
}

#[test]
fn secrets_are_found_wherever_they_are_in_a_parameter() {
    let redactor = redactor(&json!({
        "object": {"user": "alice-b", "deep": [{"pin": 1_234_567}, null, true]},
        "key": "-----BEGIN KEY-----\n  MIIEvQIBADAN\n  abc\n-----END KEY-----\n",
        "file": "{\"password\": \"inner-secret\", \"n\": 5}",
    }));
    for (text, expected) in [
        ("alice-b:1234567", "********:********"),
        ("user pin deep", "user pin deep"),
        ("+ MIIEvQIBADAN\r\n+ abc\r\n", "+ ********\r\n+ abc\r\n"),
        ("[-----BEGIN KEY-----\n  MIIEvQIBADAN\n  abc\n-----END KEY-----]", "[********]"),
        ("got inner-secret", "got ********"),
    ] {
        assert_eq!(redactor.text(text), expected);
    }
}

#[test]
fn documents_are_masked_in_keys_texts_and_numbers() {
    let redactor = redactor(&json!({"a": "hunter22", "n": 987_654, "whole": "{\"q\":[1,2]}"}));
    for (value, expected) in [
        (json!({"x": ["a hunter22", 1, null]}), json!({"x": ["a ********", 1, null]})),
        (json!({"hunter22": 1, "aHVudGVyMjI=": 2}), json!({"********": 2, "******** (2)": 1})),
        (json!([987_654, 1_987_654.5, 98_765]), json!(["********", "1********.5", 98_765])),
        (json!({"q": [1, 2]}), json!("********")),
    ] {
        assert_eq!(redactor.value(value), expected);
    }
}

#[test]
fn values_that_are_too_short_are_shown_and_named() {
    let many: Map<String, Value> = (10..35).map(|n| (format!("p{n}"), json!("12345"))).collect();
    let told: Vec<String> = [
        json!({"pin": "1234", "port": {"n": 80, "password": "long enough"}, "none": "", "flag": true}),
        json!({"spaces": "  abc \n"}),
        json!({"key": "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab==\n-----END KEY-----\n", "whole": "first line\nsecond line\n\n"}),
        json!({"account": "{\n  \"user\": \"somebody\",\n  \"password\": \"abcd\"\n}\n"}),
        Value::Object(many),
    ]
    .iter()
    .map(|values| redactor(values).warning().unwrap())
    .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    secret values, and lines of them, that are shorter than 6 characters are not masked: parameter 'pin', 'port'
    secret values, and lines of them, that are shorter than 6 characters are not masked: parameter 'spaces'
    secret values, and lines of them, that are shorter than 6 characters are not masked: parameter 'key'
    secret values, and lines of them, that are shorter than 6 characters are not masked: parameter 'account'
    secret values, and lines of them, that are shorter than 6 characters are not masked: parameter 'p10', 'p11', 'p12', 'p13', 'p14', 'p15', 'p16', 'p17', 'p18', 'p19', 'p20', 'p21', 'p22', 'p23', 'p24', 'p25', 'p26', 'p27', 'p28', 'p29' and 5 more
    ");
    assert_eq!(redactor(&json!({"pin": "1234", "long": "123456"})).text("1234 123456"), "1234 ********");
    assert_eq!(redactor(&json!({"long": "123456"})).warning(), None);
}

#[test]
fn more_than_can_be_hidden_is_an_error() {
    let schema = serde_json::from_value(json!({"a": {"secret": true}, "b": {}})).unwrap();
    let with = |value: Value| Redactor::new(&schema, &serde_json::from_value(value).unwrap());
    assert!(with(json!({"a": "x", "b": "y".repeat(100_000)})).is_ok());
    let error = with(json!({"a": ["x".repeat(40_000), "y".repeat(40_000)]})).unwrap_err();
    // every library writes these in its own way
    let lines = ('\u{4e00}'..'\u{5900}').map(|character| format!("{character}/'\"\\<+ "));
    let many_forms = lines.collect::<Vec<_>>().chunks(9).map(<[_]>::concat).collect::<Vec<_>>().join("\n");
    assert!(many_forms.len() < secrets::MAX_BYTES);
    assert!(matches!(with(json!({"a": many_forms})), Err(RedactError::TooLarge { .. })));
    insta::assert_snapshot!(error, @"secret parameters take 80000 bytes, more than can be kept out of the log (65536 bytes, fewer with many special characters): hand over where the secret is, not the secret");
}

#[test]
fn nothing_that_is_printed_for_debugging_holds_a_secret() {
    assert_eq!(format!("{:?}", redactor(&json!({"a": "hunter22"}))), "Redactor { active: true, .. }");
}

/// A mask for every longest run of bytes that belong to a pattern: the meaning of redaction, slowly.
fn in_one_go(patterns: &BTreeSet<Vec<u8>>, text: &[u8]) -> Vec<u8> {
    let mut secret = vec![false; text.len()];
    for pattern in patterns {
        for at in 0..text.len() {
            if text[at..].starts_with(pattern) {
                secret[at..at + pattern.len()].fill(true);
            }
        }
    }
    let mut shown = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if !secret[at] {
            shown.push(*byte);
        } else if at == 0 || !secret[at - 1] {
            shown.extend_from_slice(Parameters::MASK.as_bytes());
        }
    }
    shown
}

/// Part of a text.
#[derive(Clone, Debug)]
enum Fragment {
    Noise(Vec<u8>),
    /// The n-th form of all secrets, from and to a place in it.
    Form(prop::sample::Index, prop::sample::Index, prop::sample::Index),
    Whole(prop::sample::Index),
}

fn fragment() -> impl Strategy<Value = Fragment> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        "[ab/ '\\\\ä\n]{0,8}".prop_map(|text| Fragment::Noise(text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Fragment::Noise),
        (index(), index(), index()).prop_map(|(form, from, to)| Fragment::Form(form, from, to)),
        index().prop_map(Fragment::Whole),
        index().prop_map(Fragment::Whole),
    ]
}

/// A byte with which no form of a plain text begins.
fn no_letter() -> impl Strategy<Value = u8> {
    any::<u8>().prop_map(|byte| if byte.is_ascii_alphanumeric() { byte | 0x80 } else { byte })
}

proptest! {
    // few letters make secrets that overlap, contain and continue each other
    #[test]
    fn no_chunking_of_any_text_lets_a_secret_through(
        secrets in prop::collection::vec(prop_oneof!["[ab]{6,9}", "[ab/ '\"\\\\ä\n]{6,12}", "[a-c\n]{60,140}"], 1..4),
        fragments in prop::collection::vec(fragment(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut forms = BTreeSet::new();
        for secret in secrets.iter().filter(|secret| secret.trim().chars().count() >= 6) {
            for part in [secret.as_str(), secret.trim()].into_iter().chain(secret.lines().map(str::trim)) {
                if part.chars().count() >= 6 {
                    forms::add(part, &mut forms);
                }
            }
        }
        let listed: Vec<&Vec<u8>> = forms.iter().collect();
        let mut text = Vec::new();
        for fragment in &fragments {
            match fragment {
                Fragment::Noise(bytes) => text.extend_from_slice(bytes),
                Fragment::Whole(form) if !listed.is_empty() => text.extend(*form.get(&listed)),
                Fragment::Form(form, from, to) if !listed.is_empty() => {
                    let form = form.get(&listed);
                    let from = from.index(form.len());
                    text.extend_from_slice(&form[from..from + to.index(form.len() - from + 1)]);
                }
                _ => {}
            }
        }

        let values: Map<String, Value> =
            secrets.iter().enumerate().map(|(n, secret)| (format!("p{n}"), json!(secret))).collect();
        let redactor = redactor(&Value::Object(values));
        let mut stream = redactor.stream();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut shown = Vec::new();
        for cut in cuts.windows(2) {
            shown.extend(stream.push(text[cut[0]..cut[1]].to_vec()));
        }
        shown.extend(stream.finish());

        let expected = in_one_go(&matcher::pieces(forms.clone()), &text);
        prop_assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&expected));
        for form in &forms {
            prop_assert!(!shown.windows(form.len()).any(|window| window == form.as_slice()), "{:?}", form);
        }
    }

    #[test]
    fn what_holds_no_secret_passes_byte_for_byte_and_at_once(
        pieces in prop::collection::vec(prop::collection::vec(no_letter(), 0..100), 0..8),
    ) {
        let redactor = redactor(&json!({"a": "hunter22", "b": "correct-horse"}));
        let mut stream = redactor.stream();
        for piece in pieces {
            prop_assert_eq!(&stream.push(piece.clone()), &piece);
        }
        prop_assert!(stream.finish().is_empty());
    }
}
