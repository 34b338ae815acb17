//! The ways in which programs write a text: as it is, base64, URL-encoded, escaped for JSON, quoted for a shell.
//!
//! One encoding on top of another (base64 within a URL, JSON within JSON) is not among them.

mod base64;
mod escaped;
mod shell;
mod url;

use std::collections::BTreeSet;

/// Adds every form of a text.
pub(super) fn add(text: &str, forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(text.as_bytes().to_vec());
    base64::add(text.as_bytes(), forms);
    let written = url::forms(text).chain(escaped::forms(text)).chain(shell::forms(text));
    forms.extend(written.map(String::into_bytes));
}

#[cfg(test)]
mod tests;
