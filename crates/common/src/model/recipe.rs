//! Recipes: how the environment of a runtime is built for a pack, and how actions run in it.

mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use template::{InvalidTemplate, Places, Template};

/// How the environment of one runtime is built from what a pack locks, and what a process needs to run in it.
///
/// Serialised, it is part of the key of an environment: another recipe makes another environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Canonical name of the runtime.
    pub name: String,
    /// Files and folders of the pack whose content the environment depends on, relative to the pack.
    pub lock_files: Vec<String>,
    /// Commands that make an empty environment.
    #[serde(default)]
    pub create: Vec<Command>,
    /// Commands that install what the pack needs.
    #[serde(default)]
    pub install: Vec<Command>,
    /// Variables of processes that run in it.
    #[serde(default)]
    pub variables: BTreeMap<String, Template>,
    /// Folders in front of the search path, also while it is built.
    #[serde(default)]
    pub path: Vec<Template>,
    /// What runs scripts; the interpreter that it was built for when not given.
    #[serde(default)]
    pub interpreter: Option<Template>,
    /// Whether scripts run from a copy of the pack below the environment's own `pack` folder: for languages that look
    /// for libraries in the folders above a script.
    #[serde(default)]
    pub run_inside: bool,
}

/// A command: its words, each with placeholders. Nothing is given to a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command(pub Vec<Template>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a command line or a list of words")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Vec<String>, E> {
                shlex::split(line).ok_or_else(|| E::custom(format!("command {line:?} has an open quote")))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(words)
            }
        }
        let words = deserializer.deserialize_any(Visitor)?;
        if words.is_empty() {
            return Err(serde::de::Error::custom("a command has at least one word"));
        }
        let words = words.into_iter().map(Template::try_from).collect::<Result<_, _>>();
        words.map(Self).map_err(serde::de::Error::custom)
    }
}
