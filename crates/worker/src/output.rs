//! The result of an action: the end of its standard output, read, checked, and without secrets.

use std::fmt::Write;

use attune_common::model::{OutputFormat, check_output};
use serde_json::Value;

use crate::redact::Redactor;

/// How many line starts are tried for the last JSON document. A longer one may still begin where a line begins with its bracket.
const MAX_LINES_TRIED: usize = 10_000;

/// How many of those are tried.
const MAX_BRACKETS_TRIED: usize = 1_000;

/// Most characters of a line that are quoted.
const MAX_QUOTED: usize = 80;

/// Most characters of what a schema says.
const MAX_FAULT: usize = 500;

/// The end of standard output, as much as a result may take.
#[derive(Debug)]
pub struct ResultBuffer {
    format: OutputFormat,
    limit: usize,
    kept: Vec<u8>,
    cut: bool,
    /// Line ends before what is kept.
    lines_before: usize,
}

impl ResultBuffer {
    /// Keeps what a result of this format is read from: nothing, everything, or the last `limit` bytes.
    #[must_use]
    pub fn new(format: OutputFormat, limit: usize) -> Self {
        Self { format, limit, kept: Vec::new(), cut: false, lines_before: 0 }
    }

    /// Adds what the action wrote.
    pub fn push(&mut self, data: &[u8]) {
        match self.format {
            OutputFormat::Text => return,
            // a document that lacks its beginning is none
            OutputFormat::Yaml | OutputFormat::Jsonl if self.cut => return,
            _ => {}
        }
        for piece in data.chunks(self.limit.max(1)) {
            self.kept.extend_from_slice(piece);
            // moving the bytes only now and then keeps the cost of each byte constant
            if self.kept.len() > 2 * self.limit {
                self.trim();
            }
        }
        self.cut |= self.kept.len() > self.limit;
    }

    fn trim(&mut self) {
        let surplus = self.kept.len().saturating_sub(self.limit);
        if surplus > 0 {
            self.lines_before += memchr::memchr_iter(b'\n', &self.kept[..surplus]).count();
            self.kept.drain(..surplus);
            self.cut = true;
        }
    }

    /// Reads the result. With a schema it has to fit that.
    ///
    /// # Errors
    /// A text that says what is wrong, and where; without secrets.
    pub fn read(mut self, schema: Option<&Value>, redactor: &Redactor) -> Result<Option<Value>, String> {
        self.trim();
        if self.format == OutputFormat::Text {
            return Ok(None);
        }
        if self.cut && self.format != OutputFormat::Json {
            return Err(format!(
                "standard output is larger than the {} bytes from which a result is read",
                self.limit
            ));
        }
        // the cut may have gone through a character; what is before the last document does not matter
        let text = String::from_utf8_lossy(&self.kept);
        let result = match self.format {
            OutputFormat::Jsonl => lines(&text),
            OutputFormat::Yaml => attune_common::yaml::parse(&text).map_err(|error| {
                format!("standard output is not a YAML document: {}", redactor.text(&error))
            }),
            OutputFormat::Json | OutputFormat::Text => last_document(&text, self.lines_before, redactor)
                .map_err(|error| {
                    let limit = self.limit;
                    if self.cut {
                        format!("{error}; only the last {limit} bytes are read for a result")
                    } else {
                        error
                    }
                }),
        }?;
        if let Some(schema) = schema {
            check(schema, &result, redactor)?;
        }
        let result = redactor.value(result);
        // aliases of YAML make much out of little, and masks may be longer than what they hide
        let bytes = result.to_string().len();
        if bytes > self.limit {
            return Err(format!(
                "the result takes {bytes} bytes as JSON, more than the limit of {}",
                self.limit
            ));
        }
        Ok(Some(result))
    }
}

/// The JSON document at the end of the text: one line of it, or as many as the document has.
fn last_document(text: &str, lines_before: usize, redactor: &Redactor) -> Result<Value, String> {
    let text = text.trim_end();
    if text.is_empty() {
        return Err("standard output is empty: a JSON document is expected at its end".to_owned());
    }
    let mut last_error = None;
    let starts = text.rmatch_indices('\n').map(|(at, _)| at + 1).chain([0]);
    let brackets = starts.clone().skip(MAX_LINES_TRIED).filter(|at| text[*at..].starts_with(['{', '[']));
    for start in starts.take(MAX_LINES_TRIED).chain(brackets.take(MAX_BRACKETS_TRIED)) {
        match documents_to_the_end(&text[start..]) {
            Ok(document) => return Ok(document),
            Err(error) => last_error = last_error.or(Some(error)),
        }
    }
    let line = lines_before + text.lines().count();
    // cut after it is redacted: half a secret is a secret, too
    let last = redactor.text(text.lines().next_back().unwrap_or_default());
    let last = shortened(&last, MAX_QUOTED);
    let reason = last_error.unwrap_or_default();
    Err(format!("standard output does not end with a JSON document: line {line} ({last:?}): {reason}"))
}

/// The last of the documents that begin here, when nothing else is between them and the end. Others than the first
/// continue a line: those at the start of a line have been tried already.
fn documents_to_the_end(text: &str) -> Result<Value, String> {
    let mut at = 0;
    loop {
        let mut documents = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let document = match documents.next() {
            Some(Ok(document)) => document,
            Some(Err(error)) => return Err(without_place(&error)),
            None => return Err("a value is missing".to_owned()),
        };
        at += documents.byte_offset();
        let rest = text[at..].trim_start_matches([' ', '\t', '\r']);
        match rest.chars().next() {
            None => return Ok(document),
            Some('\n') => return Err("more follows behind a document".to_owned()),
            Some(_) => {}
        }
    }
}

/// What the parser says; its line and column count from where it began.
fn without_place(error: &serde_json::Error) -> String {
    error.to_string().split(" at line").next().unwrap_or_default().to_owned()
}

fn lines(text: &str) -> Result<Value, String> {
    let documents = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    documents
        .map(|(number, line)| {
            serde_json::from_str::<Value>(line).map_err(|error| {
                format!(
                    "line {} of standard output is not a JSON document: {} at column {}",
                    number + 1,
                    without_place(&error),
                    error.column()
                )
            })
        })
        .collect()
}

fn check(schema: &Value, result: &Value, redactor: &Redactor) -> Result<(), String> {
    let Err(fault) = check_output(schema, result) else { return Ok(()) };
    let path: String = fault.path.iter().fold(String::new(), |mut path, part| {
        // writing to a string cannot fail
        let _ = write!(path, "/{}", redactor.text(part));
        path
    });
    let place = if path.is_empty() { "its top".to_owned() } else { shortened(&path, MAX_FAULT) };
    let message = shortened(&redactor.text(&fault.message), MAX_FAULT);
    let others = match fault.others {
        0 => String::new(),
        1 => " (and one more fault)".to_owned(),
        others => format!(" (and {others} more faults)"),
    };
    Err(format!("the result does not fit the action's output_schema: at {place}: {message}{others}"))
}

/// The first characters of a text.
#[must_use]
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use attune_common::model::{ParameterSchema, Parameters};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str, format: OutputFormat) -> Result<Option<Value>, String> {
        checked(text, format, None, &nothing_secret())
    }

    fn checked(
        text: &str,
        format: OutputFormat,
        schema: Option<&Value>,
        redactor: &Redactor,
    ) -> Result<Option<Value>, String> {
        let mut buffer = ResultBuffer::new(format, 200);
        buffer.push(text.as_bytes());
        buffer.read(schema, redactor)
    }

    fn nothing_secret() -> Redactor {
        Redactor::new(&ParameterSchema::default(), &Parameters::default()).unwrap()
    }

    fn secret(value: &str) -> Redactor {
        let schema = serde_json::from_value(json!({"token": {"secret": true}})).unwrap();
        let parameters = serde_json::from_value(json!({"token": value})).unwrap();
        Redactor::new(&schema, &parameters).unwrap()
    }

    #[test]
    fn a_document_may_have_very_many_lines() {
        let numbers: Vec<usize> = (0..3 * MAX_LINES_TRIED).collect();
        let document = serde_json::to_string_pretty(&numbers).unwrap();
        let mut buffer = ResultBuffer::new(OutputFormat::Json, 1_000_000);
        buffer.push(format!("[\n] is where it begins\n{document}\n").as_bytes());
        assert_eq!(buffer.read(None, &nothing_secret()).unwrap().unwrap(), json!(numbers));
    }

    #[test]
    fn the_last_json_document_wins() {
        for (text, expected) in [
            ("{\"a\":1}", json!({"a": 1})),
            ("working…\n{\"a\":1}\n\n", json!({"a": 1})),
            ("{\"a\":1}\n{\"a\":2}\n", json!({"a": 2})),
            ("log\n{\n  \"a\": [\n    1\n  ]\n}\n", json!({"a": [1]})),
            ("42\n", json!(42)),
            ("\"text\"", json!("text")),
            ("1 2\n{\"a\":1} {\"a\":2}\r\n", json!({"a": 2})),
        ] {
            assert_eq!(read(text, OutputFormat::Json).unwrap(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_result_says_where() {
        let told: Vec<String> = [
            ("", OutputFormat::Json),
            ("all good\ndone", OutputFormat::Json),
            ("{\"a\":1}\n{\"a\":", OutputFormat::Json),
            ("{\"a\":1} nope", OutputFormat::Json),
            (&"é".repeat(90), OutputFormat::Json),
            ("{\"a\":1}\nnope\n", OutputFormat::Jsonl),
            ("a: [1", OutputFormat::Yaml),
            (&"x".repeat(201), OutputFormat::Yaml),
            ("a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b]", OutputFormat::Yaml),
        ]
        .into_iter()
        .map(|(text, format)| read(text, format).unwrap_err())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn lines_are_counted_from_the_first_one_however_much_is_written() {
        // in pieces of every kind: much smaller than what is kept, and much larger
        for size in [1, 7, 150, 1_000, 100_000] {
            let text = "a line\n".repeat(9_999) + "nope";
            let mut buffer = ResultBuffer::new(OutputFormat::Json, 200);
            text.as_bytes().chunks(size).for_each(|piece| buffer.push(piece));
            let told = buffer.read(None, &nothing_secret()).unwrap_err();
            assert!(told.contains("line 10000 (\"nope\")"), "{size}: {told}");
        }
    }

    #[test]
    fn a_result_has_to_fit_the_schema_of_its_action() {
        let schema = json!({
            "type": "object", "required": ["ok"], "additionalProperties": false,
            "properties": {"ok": {"type": "boolean"}, "rows": {"type": "array", "items": {"type": "integer"}}},
        });
        let read = |text: &str| checked(text, OutputFormat::Json, Some(&schema), &nothing_secret());
        assert_eq!(read(r#"{"ok": true, "rows": [1]}"#).unwrap(), Some(json!({"ok": true, "rows": [1]})));
        let told: Vec<String> = [
            "[]",
            "{}",
            r#"{"ok": true, "rows": [1, "two", "three", 4.5]}"#,
            r#"{"ok": "no", "extra": 1}"#,
            &format!("{{\"ok\": {:?}}}", "long ".repeat(37)),
        ]
        .into_iter()
        .map(|text| read(text).unwrap_err())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_result_and_what_is_wrong_with_it_are_told_without_secrets() {
        let token = "s3cret/\"quoted\"";
        let redactor = secret(token);
        let schema = json!({"additionalProperties": {"type": "integer"}});
        let document = json!({token: token}).to_string();
        let read = |text: &str, format, schema| checked(text, format, schema, &redactor);
        assert_eq!(
            read(&document, OutputFormat::Json, None).unwrap(),
            Some(json!({Parameters::MASK: Parameters::MASK}))
        );
        let told: Vec<String> = [
            (document.as_str(), OutputFormat::Json, Some(&schema)),
            // the quoted line ends within the secret
            (&format!("{} {token}", "x".repeat(72)), OutputFormat::Json, None),
            (&format!("'{token}': 1\n'{token}': 2\n"), OutputFormat::Yaml, None),
            (&format!("a: !{token} 1\n"), OutputFormat::Yaml, None),
        ]
        .into_iter()
        .map(|(text, format, schema)| match read(text, format, schema) {
            Ok(result) => format!("{result:?}"),
            Err(error) => error,
        })
        .collect();
        assert!(told.iter().all(|text| !text.contains("s3cret")), "{told:#?}");
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn other_formats_read_everything() {
        assert_eq!(read("anything", OutputFormat::Text).unwrap(), None);
        assert_eq!(read("{\"a\":1}\n\n2\n", OutputFormat::Jsonl).unwrap(), Some(json!([{"a": 1}, 2])));
        assert_eq!(read("a: 1\nb: [x]\n", OutputFormat::Yaml).unwrap(), Some(json!({"a": 1, "b": ["x"]})));
    }

    #[test]
    fn a_long_log_does_not_hide_the_result() {
        let mut buffer = ResultBuffer::new(OutputFormat::Json, 100);
        for _ in 0..1000 {
            buffer.push("progress é\n".as_bytes());
        }
        buffer.push(b"{\"done\":true}\n");
        assert_eq!(buffer.read(None, &nothing_secret()).unwrap(), Some(json!({"done": true})));
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic_and_in_bounds(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            for format in [OutputFormat::Text, OutputFormat::Json, OutputFormat::Yaml, OutputFormat::Jsonl] {
                let mut buffer = ResultBuffer::new(format, 64);
                for chunk in &chunks {
                    buffer.push(chunk);
                    prop_assert!(buffer.kept.len() <= 2 * 64);
                }
                if let Ok(Some(result)) = buffer.read(None, &nothing_secret()) {
                    prop_assert!(result.to_string().len() <= 64);
                }
            }
        }
    }
}
