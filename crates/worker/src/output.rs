//! The result of an action, read from its standard output.

use attune_common::model::OutputFormat;
use serde_json::Value;

/// How many line starts are tried for the last JSON document.
const MAX_LINES_TRIED: usize = 10_000;

/// The end of standard output, as much as a result may take.
#[derive(Debug)]
pub struct ResultBuffer {
    limit: usize,
    kept: Vec<u8>,
    cut: bool,
}

impl ResultBuffer {
    /// Keeps the last `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), cut: false }
    }

    /// Adds what the action wrote.
    pub fn push(&mut self, data: &[u8]) {
        self.cut |= data.len() > self.limit;
        let data = &data[data.len().saturating_sub(self.limit)..];
        self.kept.extend_from_slice(data);
        // moving the bytes only now and then keeps the cost of each byte constant
        if self.kept.len() > 2 * self.limit {
            self.trim();
        }
        self.cut |= self.kept.len() > self.limit;
    }

    fn trim(&mut self) {
        let surplus = self.kept.len().saturating_sub(self.limit);
        if surplus > 0 {
            self.kept.drain(..surplus);
            self.cut = true;
        }
    }

    /// Reads the result.
    ///
    /// # Errors
    /// A text that says what is wrong, and where.
    pub fn read(mut self, format: OutputFormat) -> Result<Option<Value>, String> {
        self.trim();
        if format == OutputFormat::Text {
            return Ok(None);
        }
        if self.cut && format != OutputFormat::Json {
            return Err(format!(
                "standard output is larger than the {} bytes from which a result is read",
                self.limit
            ));
        }
        // the cut may have gone through a character; what is before the last document does not matter
        let text = String::from_utf8_lossy(&self.kept);
        match format {
            OutputFormat::Text => Ok(None),
            OutputFormat::Json => last_document(&text).map(Some),
            OutputFormat::Jsonl => lines(&text).map(Some),
            OutputFormat::Yaml => attune_common::yaml::parse(&text)
                .map(Some)
                .map_err(|error| format!("standard output is not a YAML document: {error}")),
        }
    }
}

/// The JSON document at the end of the text: one line of it, or as many as the document has.
fn last_document(text: &str) -> Result<Value, String> {
    let text = text.trim_end();
    if text.is_empty() {
        return Err("standard output is empty: a JSON document is expected at its end".to_owned());
    }
    let mut last_error = None;
    let starts = text.rmatch_indices('\n').map(|(at, _)| at + 1).chain([0]);
    for start in starts.take(MAX_LINES_TRIED) {
        match serde_json::from_str(&text[start..]) {
            Ok(document) => return Ok(document),
            Err(error) => last_error = last_error.or(Some(error)),
        }
    }
    let line = text.lines().count();
    let last: String = text.lines().next_back().unwrap_or_default().chars().take(80).collect();
    let reason = last_error.map(|error| error.to_string()).unwrap_or_default();
    let reason = reason.split(" at line").next().unwrap_or_default();
    Err(format!("standard output does not end with a JSON document: line {line} ({last:?}): {reason}"))
}

fn lines(text: &str) -> Result<Value, String> {
    let documents = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    documents
        .map(|(number, line)| {
            serde_json::from_str::<Value>(line).map_err(|error| {
                format!("line {} of standard output is not a JSON document: {error}", number + 1)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str, format: OutputFormat) -> Result<Option<Value>, String> {
        let mut buffer = ResultBuffer::new(100);
        buffer.push(text.as_bytes());
        buffer.read(format)
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
            ("{\"a\":1}\nnope\n", OutputFormat::Jsonl),
            ("a: [1", OutputFormat::Yaml),
            (&"x".repeat(200), OutputFormat::Yaml),
        ]
        .into_iter()
        .map(|(text, format)| read(text, format).unwrap_err())
        .collect();
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
        let mut buffer = ResultBuffer::new(100);
        for _ in 0..1000 {
            buffer.push("progress é\n".as_bytes());
        }
        buffer.push(b"{\"done\":true}\n");
        assert_eq!(buffer.read(OutputFormat::Json).unwrap(), Some(json!({"done": true})));
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic_and_in_bounds(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let mut buffer = ResultBuffer::new(64);
            for chunk in &chunks {
                buffer.push(chunk);
                prop_assert!(buffer.kept.len() <= 2 * 64);
            }
            let _ = buffer.read(OutputFormat::Json);
        }
    }
}
