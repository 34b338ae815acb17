//! `attune requirements`.

use attune_api::views::RequirementView;
use jiff::Timestamp;

use crate::{
    client::Client,
    output::{Cell, Output, Paint, Table, Tone, ago},
};

/// Lists requirements.
pub(super) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let list = client.requirements().await?;
    if output.is_json() {
        return output.json(&list);
    }
    if list.requirements.is_empty() {
        output.note("nothing has been required yet: no execution was submitted");
        return Ok(());
    }
    Ok(output.print(&table(&list.requirements, Timestamp::now(), output.paint()))?)
}

fn table(requirements: &[RequirementView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["REQUIREMENT", "WAITING", "RUNNING", "OLDEST", "WORKERS"]);
    for requirement in requirements {
        let workers = match (requirement.workers.is_empty(), requirement.waiting) {
            (false, _) => requirement.workers.join(", ").into(),
            (true, 0) => Cell::toned(Tone::Dim, "no worker"),
            (true, _) => Cell::toned(Tone::Bad, "no worker"),
        };
        table.row([
            requirement.requirement.to_string().into(),
            requirement.waiting.to_string().into(),
            requirement.running.to_string().into(),
            requirement.oldest_waiting.map(|then| ago(now, then)).unwrap_or_default().into(),
            workers,
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_as_a_table() {
        let requirements: Vec<RequirementView> = serde_json::from_value(serde_json::json!([
            {"requirement": "python >=3.11; gpu=nvidia", "waiting": 4, "running": 0,
             "oldest_waiting": "2025-06-01T11:50:00Z", "workers": []},
            {"requirement": "shell", "waiting": 0, "running": 2, "workers": ["a", "b"]},
            {"requirement": "r >=3.5", "waiting": 0, "running": 0, "workers": []},
        ]))
        .unwrap();
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(table(&requirements, now, Paint::PLAIN));
    }
}
