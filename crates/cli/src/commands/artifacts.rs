//! `attune artifacts list|download`.

mod place;

use attune_api::views::{ArtifactView, ExecutionView};
use attune_common::{
    config::nearest,
    model::{ExecutionId, artifact::check_path},
};
use indicatif::BinaryBytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::place::{Place, Target};
use crate::{
    arguments::{ArtifactsCommand, DownloadArguments},
    client::Client,
    exit::BadInput,
    output::{Output, Paint, Table, one_line},
    progress::Transfer,
};

/// A file that was downloaded.
#[derive(Serialize)]
struct Downloaded {
    /// What it is in the list.
    #[serde(flatten)]
    artifact: ArtifactView,
    /// Where it is now.
    file: String,
}

/// The document for programs.
#[derive(Serialize)]
struct Report {
    downloaded: Vec<Downloaded>,
}

/// Does what is asked about artifacts.
pub(super) async fn run(
    client: &Client,
    output: &mut Output,
    command: ArtifactsCommand,
) -> anyhow::Result<()> {
    match command {
        ArtifactsCommand::List { id } => {
            let list = client.artifacts(id).await?;
            if output.is_json() {
                return output.json(&list);
            }
            if list.artifacts.is_empty() {
                output.note(&none(id));
                return Ok(());
            }
            Ok(output.print(&table(&list.artifacts, output.paint()))?)
        }
        ArtifactsCommand::Download(arguments) => download(client, output, arguments).await,
    }
}

async fn download(client: &Client, output: &mut Output, arguments: DownloadArguments) -> anyhow::Result<()> {
    let DownloadArguments { id, path, to, force } = arguments;
    let place = Place::new(to, path.is_some(), force)?;
    if matches!(place, Place::StandardOutput) && output.is_json() {
        return Err(BadInput("with --to - the file itself is printed; leave out -o json".to_owned()).into());
    }
    let wanted = wanted(client.artifacts(id).await?.artifacts, id, path.as_deref())?;
    if wanted.is_empty() {
        output.note(&none(id));
    }
    // before anything is written
    let targets: Vec<Target> = wanted.iter().map(|one| place.target(&one.path)).collect::<Result<_, _>>()?;
    let mut downloaded = Vec::new();
    for (artifact, target) in wanted.into_iter().zip(targets) {
        let file = fetch(client, output, id, &artifact, target).await?;
        if let Some(file) = file {
            if !output.is_json() {
                output.print(&one_line(&file))?;
            }
            downloaded.push(Downloaded { artifact, file });
        }
    }
    if output.is_json() { output.json(&Report { downloaded }) } else { Ok(()) }
}

/// The artifacts to download. Their paths come from a server: none may lead out of the folder.
fn wanted(all: Vec<ArtifactView>, id: ExecutionId, path: Option<&str>) -> anyhow::Result<Vec<ArtifactView>> {
    for artifact in &all {
        check_path(&artifact.path)
            .map_err(|fault| BadInput(format!("the API lists an artifact '{}': {fault}", artifact.path)))?;
    }
    let Some(path) = path else { return Ok(all) };
    if let Some(found) = all.iter().find(|artifact| artifact.path == path) {
        return Ok(vec![found.clone()]);
    }
    let hint = match nearest(path, all.iter().map(|artifact| artifact.path.as_str())) {
        Some(near) => format!("is '{near}' meant?"),
        None => format!("'attune artifacts list {id}' shows what there is"),
    };
    Err(BadInput(format!("the execution left no artifact '{path}'; {hint}")).into())
}

/// Downloads one file, and says where it is now.
async fn fetch(
    client: &Client,
    output: &mut Output,
    id: ExecutionId,
    artifact: &ArtifactView,
    mut target: Target,
) -> anyhow::Result<Option<String>> {
    let mut content = client.artifact(id, &artifact.path).await?;
    let transfer = Transfer::new(output.is_watched() && !target.is_standard_output(), artifact.size);
    let mut hash = Sha256::new();
    while let Some(bytes) = content.next().await? {
        let bytes = bytes.as_ref();
        hash.update(bytes);
        target.write(bytes, output)?;
        transfer.add(bytes.len());
    }
    drop(transfer);
    anyhow::ensure!(
        hex::encode(hash.finalize()) == artifact.sha256,
        "artifact '{}' is not what the execution left: its SHA-256 is not {}; try again",
        artifact.path,
        artifact.sha256
    );
    target.finish()
}

fn none(id: ExecutionId) -> String {
    format!(
        "execution {id} left no files; an action leaves what it writes into the folder $ATTUNE_ARTIFACTS_DIR"
    )
}

/// The files, as lists and `executions show` show them.
pub(super) fn table(artifacts: &[ArtifactView], paint: Paint) -> String {
    let mut table = Table::new(["PATH", "SIZE", "TYPE", "SHA-256"]);
    for artifact in artifacts {
        table.row([
            artifact.path.as_str().into(),
            BinaryBytes(artifact.size).to_string().into(),
            artifact.media_type.as_str().into(),
            artifact.sha256.as_str().into(),
        ]);
    }
    table.render(paint)
}

/// What to do with the files of an execution that has just ended.
pub(super) fn hint(execution: &ExecutionView) -> Option<String> {
    let size = BinaryBytes(execution.artifacts.iter().map(|artifact| artifact.size).sum());
    let id = execution.summary.id;
    match execution.artifacts.as_slice() {
        [] => None,
        [one] => Some(format!(
            "it left {} ({size}); 'attune artifacts download {id}' fetches it",
            one_line(&one.path)
        )),
        several => Some(format!(
            "it left {} files ({size}); 'attune artifacts download {id}' fetches them",
            several.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts() -> Vec<ArtifactView> {
        serde_json::from_value(serde_json::json!([
            {"path": "reports/größe.csv", "size": 1_234_567, "sha256": "0a1b", "media_type": "text/csv"},
            {"path": "summary.csv", "size": 12, "sha256": "2c3d", "media_type": "text/csv"},
        ]))
        .unwrap()
    }

    #[test]
    fn artifacts_as_a_table() {
        insta::assert_snapshot!(table(&artifacts(), Paint::PLAIN));
    }

    #[test]
    fn what_is_not_listed_or_leads_elsewhere_is_told() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let told = |list: Vec<ArtifactView>, path| wanted(list, id, path).unwrap_err().to_string();
        let mut bad = artifacts();
        bad[0].path = "../../.ssh/authorized_keys".to_owned();
        let lines = [
            told(artifacts(), Some("sumary.csv")),
            told(artifacts(), Some("nothing like it")),
            told(bad.clone(), None),
            told(bad, Some("summary.csv")),
        ];
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(wanted(artifacts(), id, Some("summary.csv")).unwrap(), artifacts()[1..]);
    }
}
