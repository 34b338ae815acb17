//! `attune actions list|show`.

use attune_api::views::{ActionSummary, ActionView};
use serde_json::Value;

use crate::{
    arguments::ActionsCommand,
    client::Client,
    output::{Cell, Output, Paint, Table, Tone, duration, record},
};

/// Characters of a default value that are shown.
const LONGEST_DEFAULT: usize = 32;

/// Does what is asked about actions.
pub(super) async fn run(client: &Client, output: &mut Output, command: ActionsCommand) -> anyhow::Result<()> {
    match command {
        ActionsCommand::List { pack } => {
            let list = client.actions(pack.as_deref()).await?;
            if output.is_json() {
                return output.json(&list);
            }
            if list.actions.is_empty() {
                output.note("there are no such actions; 'attune pack push DIR' adds some");
                return Ok(());
            }
            Ok(output.print(&table(&list.actions, output.paint()))?)
        }
        ActionsCommand::Show { action } => {
            let action = client.action(&action).await?;
            if output.is_json() {
                return output.json(&action);
            }
            Ok(output.print(&detail(&action, output.paint()))?)
        }
    }
}

/// Actions, one a line.
pub(super) fn table(actions: &[ActionSummary], paint: Paint) -> String {
    let mut table = Table::new(["ACTION", "REQUIRES", "LABEL"]);
    for action in actions {
        let label = if action.enabled {
            action.label.as_str().into()
        } else {
            Cell::toned(Tone::Dim, format!("{} (disabled)", action.label))
        };
        table.row([action.r#ref.to_string().into(), requires(action).into(), label]);
    }
    table.render(paint)
}

fn requires(action: &ActionSummary) -> String {
    // groups require nothing themselves
    action.requirement.as_ref().map_or_else(|| action.runner_type.clone(), ToString::to_string)
}

fn detail(action: &ActionView, paint: Paint) -> String {
    let summary = &action.summary;
    let workers = match (action.satisfied_by.is_empty(), summary.requirement.is_some()) {
        (false, _) => action.satisfied_by.join(", ").into(),
        (true, true) => Cell::toned(Tone::Bad, "no worker satisfies the requirement"),
        (true, false) => "".into(),
    };
    let enabled = if summary.enabled { "".into() } else { Cell::toned(Tone::Notice, "no: it is refused") };
    let mut text = record(
        [
            ("action", summary.r#ref.to_string().into()),
            ("label", summary.label.as_str().into()),
            ("description", action.description.as_str().into()),
            ("enabled", enabled),
            ("requires", requires(summary).into()),
            ("workers", workers),
            ("waiting", if action.waiting > 0 { action.waiting.to_string() } else { String::new() }.into()),
            ("script", action.entry_point.as_str().into()),
            ("time limit", action.timeout.map(duration).unwrap_or_default().into()),
            ("tags", summary.tags.join(", ").into()),
        ],
        paint,
    );
    if !action.parameters.is_empty() {
        text.push('\n');
        text.push_str(&parameters(action, paint));
    }
    if !action.members.is_empty() {
        let mut members = Table::new(["MEMBER", "PARAMETERS"]);
        for member in &action.members {
            let given = if member.parameters.is_empty() {
                String::new()
            } else {
                Value::from(member.parameters.clone()).to_string()
            };
            members.row([member.action.to_string().into(), given.into()]);
        }
        text.push('\n');
        text.push_str(&members.render(paint));
    }
    text
}

fn parameters(action: &ActionView, paint: Paint) -> String {
    let mut table = Table::new(["PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"]);
    for (name, keywords) in &action.parameters {
        let marked = |keyword: &str| keywords.get(keyword) == Some(&Value::Bool(true));
        let mut kind = match keywords.get("type") {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
            }
            _ => "any".to_owned(),
        };
        if marked("secret") {
            kind.push_str(", secret");
        }
        let default = match keywords.get("default") {
            _ if marked("required") => Cell::toned(Tone::Notice, "required"),
            Some(value) => shortened(&value.to_string()).into(),
            None => "".into(),
        };
        let description = keywords.get("description").and_then(Value::as_str).unwrap_or_default();
        table.row([name.as_str().into(), kind.into(), default, description.into()]);
    }
    table.render(paint)
}

/// The beginning of a text, where it is long: -o json shows all of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_DEFAULT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(changes: &Value) -> ActionView {
        let mut action = serde_json::json!({
            "ref": "examples.sign", "label": "Sign", "enabled": true, "runner_type": "node",
            "requirement": "node >=14", "tags": ["text"], "description": "Signs a text.",
            "entry_point": "sign.js", "members": [], "parameter_delivery": "stdin",
            "parameter_format": "json", "output_format": "json", "timeout": 30.0, "labels": {},
            "max_attempts": 1, "satisfied_by": [], "waiting": 3,
            "parameters": {
                "key": {"type": "string", "secret": true, "required": true, "description": "Key to sign with."},
                "lines": {"type": ["integer", "null"], "default": null},
                "text": {"default": "a greeting that takes far more room than a table has for it", "description": "What to sign."},
            },
        });
        action.as_object_mut().unwrap().append(&mut changes.as_object().unwrap().clone());
        serde_json::from_value(action).unwrap()
    }

    #[test]
    fn actions_in_detail() {
        insta::assert_snapshot!(detail(&action(&serde_json::json!({})), Paint::PLAIN));
        let mut group = action(&serde_json::json!({
            "runner_type": "group", "enabled": false, "entry_point": "", "parameters": {}, "waiting": 0,
            "members": [{"action": "examples.a"}, {"action": "examples.b", "parameters": {"top": 3}}],
        }));
        group.summary.requirement = None;
        insta::assert_snapshot!(detail(&group, Paint::PLAIN));
    }
}
