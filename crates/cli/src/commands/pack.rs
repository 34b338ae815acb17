//! `attune pack push|list|show`.

use std::path::Path;

use anyhow::Context;
use attune_api::views::{PackDetail, PackView};
use attune_common::pack::Archive;
use jiff::Timestamp;

use crate::{
    arguments::PackCommand,
    client::Client,
    exit::BadInput,
    output::{Output, Paint, Table, Tone, ago, one_line, record},
};

/// Digits of a digest that are enough to tell versions apart.
const SHORT_DIGEST: usize = 12;

/// Does what is asked about packs.
pub(super) async fn run(client: &Client, output: &mut Output, command: PackCommand) -> anyhow::Result<()> {
    match command {
        PackCommand::Push { folder } => push(client, output, &folder).await,
        PackCommand::List => list(client, output).await,
        PackCommand::Show { name } => show(client, output, &name).await,
    }
}

async fn push(client: &Client, output: &mut Output, folder: &Path) -> anyhow::Result<()> {
    let archive = read(folder)?;
    let pushed = client.push_pack(archive.bytes).await?;
    for warning in &pushed.warnings {
        output.warn(warning);
    }
    if output.is_json() {
        return output.json(&pushed);
    }
    let pack = &pushed.pack;
    let text = format!(
        "{} {} with {} ({})",
        output.paint().paint(Tone::Strong, &pack.r#ref),
        one_line(&pack.version),
        actions(pack.action_count),
        short(&pack.digest)
    );
    Ok(output.print(&text)?)
}

/// Packs a folder.
pub(super) fn read(folder: &Path) -> anyhow::Result<Archive> {
    // before anything is packed: the wrong folder may be a whole disk
    let manifest = folder.join("pack.yaml");
    std::fs::metadata(&manifest).with_context(|| {
        BadInput(format!("{} is not the folder of a pack: {}", folder.display(), manifest.display()))
    })?;
    let (archive, _) =
        attune_common::pack::read_folder(folder).with_context(|| format!("pack {}", folder.display()))?;
    Ok(archive)
}

async fn list(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let list = client.packs().await?;
    if output.is_json() {
        return output.json(&list);
    }
    if list.packs.is_empty() {
        output.note("there are no packs; 'attune pack push DIR' adds one");
        return Ok(());
    }
    Ok(output.print(&table(&list.packs, Timestamp::now(), output.paint()))?)
}

async fn show(client: &Client, output: &mut Output, name: &str) -> anyhow::Result<()> {
    let pack = client.pack(name).await?;
    if output.is_json() {
        return output.json(&pack);
    }
    Ok(output.print(&detail(&pack, Timestamp::now(), output.paint()))?)
}

fn table(packs: &[PackView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["PACK", "VERSION", "ACTIONS", "PUSHED", "DIGEST", "LABEL"]);
    for pack in packs {
        table.row([
            pack.r#ref.as_str().into(),
            pack.version.as_str().into(),
            pack.action_count.to_string().into(),
            ago(now, pack.pushed_at).into(),
            short(&pack.digest).into(),
            pack.label.as_str().into(),
        ]);
    }
    table.render(paint)
}

fn detail(detail: &PackDetail, now: Timestamp, paint: Paint) -> String {
    let pack = &detail.pack;
    let record = record(
        [
            ("pack", pack.r#ref.as_str().into()),
            ("version", pack.version.as_str().into()),
            ("label", pack.label.as_str().into()),
            ("description", pack.description.as_str().into()),
            ("digest", pack.digest.as_str().into()),
            ("pushed", ago(now, pack.pushed_at).into()),
        ],
        paint,
    );
    if detail.actions.is_empty() {
        return record;
    }
    format!("{record}\n{}", super::actions::table(&detail.actions, paint))
}

fn actions(count: u32) -> String {
    if count == 1 { "1 action".to_owned() } else { format!("{count} actions") }
}

fn short(digest: &str) -> String {
    digest.chars().take(SHORT_DIGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> PackDetail {
        serde_json::from_value(serde_json::json!({
            "ref": "examples", "version": "1.0.0", "label": "Examples", "description": "One a runtime.",
            "digest": "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "pushed_at": "2025-06-01T11:00:00Z", "action_count": 2,
            "actions": [
                {"ref": "examples.fit_trend", "label": "Fit a trend", "enabled": true, "runner_type": "r",
                 "requirement": "r >=3.5", "tags": []},
                {"ref": "examples.tour", "label": "Tour", "enabled": false, "runner_type": "group", "tags": []},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_folder_without_a_manifest_is_told_at_once() {
        let error = read(Path::new("/proc")).unwrap_err();
        assert_eq!(
            crate::exit::message(&error),
            "/proc is not the folder of a pack: /proc/pack.yaml: No such file or directory (os error 2)"
        );
        assert_eq!(crate::exit::ExitClass::of(&error), crate::exit::ExitClass::BadInput);
    }

    #[test]
    fn packs_as_a_table_and_in_detail() {
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        let example = example();
        insta::assert_snapshot!(table(std::slice::from_ref(&example.pack), now, Paint::PLAIN));
        insta::assert_snapshot!(detail(&example, now, Paint::PLAIN));
    }
}
