//! Reading YAML 1.2, with errors of one line: where, and what is wrong.

use serde::de::DeserializeOwned;

/// Reads one YAML document.
///
/// # Errors
/// The field, what is wrong with it, and at which line and column.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or("not valid YAML").trim();
        let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
        let field = field_at_fault::<T>(text).map(|field| format!("field '{field}': ")).unwrap_or_default();
        match error.location() {
            // most messages carry the place already, in words of their own
            Some(place) if !message.contains("line ") => {
                format!("{field}{message} at line {}, column {}", place.line(), place.column())
            }
            _ => field + &message,
        }
    })
}

fn options() -> serde_saphyr::Options {
    // only `true` and `false` are truth values (YAML 1.2.2, section 10.2.1.2): a parameter may well be called `n` or `no`
    serde_saphyr::options! { strict_booleans: true }
}

/// The field that does not fit, when the text is YAML at all. Read a second time, because the parser knows places and
/// serde knows paths, but neither knows both.
fn field_at_fault<T: DeserializeOwned>(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_saphyr::from_str_with_options(text, options()).ok()?;
    let error = serde_path_to_error::deserialize::<_, T>(value).err()?;
    let path = error.path().to_string();
    (path != ".").then_some(path)
}
