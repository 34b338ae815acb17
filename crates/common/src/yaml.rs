//! Reading YAML 1.2, with errors of one line: where, and what is wrong.

use serde::de::DeserializeOwned;

/// Reads one YAML document.
///
/// # Errors
/// `line L, column C: what is wrong`, without the text around it.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    // only `true` and `false` are truth values (YAML 1.2.2, section 10.2.1.2): a parameter may well be called `n` or `no`
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or("not valid YAML").trim();
        let message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
        match error.location() {
            // most messages carry the place already, in words of their own
            Some(place) if !message.contains("line ") => {
                format!("line {}, column {}: {message}", place.line(), place.column())
            }
            _ => message,
        }
    })
}
