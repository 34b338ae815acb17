//! `attune logs`.

use attune_api::views::{FollowEvent, LogChunkView};

use crate::{arguments::LogsArguments, client::Client, output::Output};

/// Shows what an execution wrote.
pub(super) async fn run(
    client: &Client,
    output: &mut Output,
    arguments: &LogsArguments,
) -> anyhow::Result<()> {
    if arguments.follow {
        follow(client, output, arguments).await?;
    } else {
        read(client, output, arguments).await?;
    }
    output.end_raw();
    Ok(())
}

async fn read(client: &Client, output: &mut Output, arguments: &LogsArguments) -> anyhow::Result<()> {
    let mut attempt = arguments.attempt;
    let mut from = 0;
    loop {
        let page = client.log(arguments.id, attempt, from).await?;
        let over = page.complete || page.chunks.is_empty();
        for chunk in page.chunks {
            show(output, chunk)?;
        }
        if over {
            return Ok(());
        }
        from = page.next;
        // an attempt that starts meanwhile must not be mixed in
        attempt = Some(page.attempt).filter(|attempt| *attempt > 0);
    }
}

async fn follow(client: &Client, output: &mut Output, arguments: &LogsArguments) -> anyhow::Result<()> {
    let mut events = client.follow(arguments.id);
    loop {
        match events.next().await? {
            FollowEvent::Log(chunk) => show(output, chunk)?,
            FollowEvent::Status(status) => {
                if let Some(reason) = status.waiting_for {
                    output.warn(&format!("{reason} yet; it waits (see 'attune requirements')"));
                }
            }
            FollowEvent::End(_) => return Ok(()),
            FollowEvent::Attempt(_) | FollowEvent::Problem(_) => {}
        }
    }
}

fn show(output: &mut Output, chunk: LogChunkView) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json_line(&chunk);
    }
    let stream = chunk.stream;
    Ok(output.raw(stream, &chunk.into_bytes()?)?)
}
