//! Texts with placeholders for the places that are known only when an environment is built or used.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::Path,
};

use serde::{Deserialize, Serialize};

/// A text with the placeholders `{pack_dir}`, `{env_dir}` and `{interpreter}`; `{{` and `}}` stand for braces.
///
/// Written here because format-string crates expand into text, and paths need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Pack,
    Environment,
    Interpreter,
}

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// `{pack_dir}`: the pack's files.
    pub pack: &'a Path,
    /// `{env_dir}`: the environment.
    pub environment: &'a Path,
    /// `{interpreter}`: the interpreter that the environment is for.
    pub interpreter: &'a Path,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A name in braces that stands for nothing.
    #[error(
        "unknown placeholder '{{{0}}}': {{pack_dir}}, {{env_dir}} and {{interpreter}} are known, {{{{ and }}}} are braces"
    )]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("{0:?} has a single brace: {{{{ and }}}} are braces")]
    Unbalanced(String),
}

impl Template {
    /// The text, with the places filled in.
    #[must_use]
    pub fn fill(&self, places: Places<'_>) -> OsString {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => OsStr::new(text.as_str()),
                Part::Pack => places.pack.as_os_str(),
                Part::Environment => places.environment.as_os_str(),
                Part::Interpreter => places.interpreter.as_os_str(),
            })
            .collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Pack => f.write_str("{pack_dir}")?,
                Part::Environment => f.write_str("{env_dir}")?,
                Part::Interpreter => f.write_str("{interpreter}")?,
            }
        }
        Ok(())
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl TryFrom<String> for Template {
    type Error = InvalidTemplate;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let unbalanced = || InvalidTemplate::Unbalanced(text.chars().take(80).collect());
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').filter(|_| brace == "{").ok_or_else(unbalanced)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(match name {
                "pack_dir" => Part::Pack,
                "env_dir" => Part::Environment,
                "interpreter" => Part::Interpreter,
                other => return Err(InvalidTemplate::Unknown(other.chars().take(80).collect())),
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Result<Template, InvalidTemplate> {
        text.to_owned().try_into()
    }

    #[test]
    fn places_are_filled_in() {
        let places = Places {
            pack: Path::new("/p q"),
            environment: Path::new("/{env_dir}"),
            interpreter: Path::new("/usr/bin/python3"),
        };
        for (text, filled) in [
            ("", ""),
            ("plain", "plain"),
            ("{env_dir}/bin/python", "/{env_dir}/bin/python"),
            ("--in={pack_dir}:{interpreter}", "--in=/p q:/usr/bin/python3"),
            (r#"{{"a": {{}}}}"#, r#"{"a": {}}"#),
            ("{{{pack_dir}}}", "{/p q}"),
        ] {
            assert_eq!(template(text).unwrap().fill(places), filled, "{text}");
        }
    }

    #[test]
    fn faults_name_what_is_known() {
        let told: Vec<String> = ["{pack}", "{", "a}b", "{}", "{env_dir"]
            .iter()
            .map(|text| template(text).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        unknown placeholder '{pack}': {pack_dir}, {env_dir} and {interpreter} are known, {{ and }} are braces
        "{" has a single brace: {{ and }} are braces
        "a}b" has a single brace: {{ and }} are braces
        unknown placeholder '{}': {pack_dir}, {env_dir} and {interpreter} are known, {{ and }} are braces
        "{env_dir" has a single brace: {{ and }} are braces
        "#);
    }

    proptest! {
        #[test]
        fn a_template_is_read_back_from_its_text(text in "[{}a-z_ ]{0,30}|[{](pack_dir|env_dir)[}]") {
            if let Ok(read) = template(&text) {
                prop_assert_eq!(template(&read.to_string()).unwrap(), read);
            }
        }

        #[test]
        fn escaped_braces_survive(text in "\\PC{0,30}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            let nowhere = Path::new("");
            let places = Places { pack: nowhere, environment: nowhere, interpreter: nowhere };
            prop_assert_eq!(template(&escaped).unwrap().fill(places), OsString::from(text));
        }
    }
}
