//! `attune runtimes`.

use attune_api::views::OfferedRuntimeView;
use jiff::Timestamp;

use crate::{
    client::Client,
    output::{Cell, Output, Paint, Table, Tone, ago},
};

/// Lists runtimes.
pub(super) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let list = client.runtimes().await?;
    if output.is_json() {
        return output.json(&list);
    }
    if list.runtimes.is_empty() {
        output.note("no worker has brought a runtime yet; 'attune dev' starts one on this machine");
        return Ok(());
    }
    Ok(output.print(&table(&list.runtimes, Timestamp::now(), output.paint()))?)
}

fn table(runtimes: &[OfferedRuntimeView], now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(["RUNTIME", "LABEL", "WORKERS", "VERSIONS", "SINCE", "BROUGHT BY"]);
    for runtime in runtimes {
        let workers = match runtime.workers {
            0 => Cell::toned(Tone::Dim, "no worker"),
            count => count.to_string().into(),
        };
        table.row([
            runtime.name.as_str().into(),
            runtime.label.as_str().into(),
            workers,
            runtime.versions.join(", ").into(),
            ago(now, runtime.registered_at).into(),
            runtime.registered_by.as_str().into(),
        ]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_as_a_table() {
        let runtimes: Vec<OfferedRuntimeView> = serde_json::from_value(serde_json::json!([
            {"name": "lua", "label": "lua", "built_in": false, "workers": 0, "versions": [],
             "registered_by": "old", "registered_at": "2025-06-01T11:50:00Z"},
            {"name": "python", "label": "Python", "built_in": true, "workers": 2, "versions": ["3.12.1", "3.9.2"],
             "registered_by": "build-7", "registered_at": "2025-06-01T11:00:00Z"},
        ]))
        .unwrap();
        let now = "2025-06-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(table(&runtimes, now, Paint::PLAIN));
    }
}
