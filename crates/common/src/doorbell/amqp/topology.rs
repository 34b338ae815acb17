//! What there is at the broker: exchanges, and a queue for every requirement.
//!
//! | name | kind | carries |
//! |---|---|---|
//! | `attune.executions` | direct exchange, durable | rings for queued executions, persistent; the routing key is the queue's name |
//! | `attune.executions.REQUIREMENT` | quorum queue, durable, `x-expires` a week | those of one requirement, until a worker has claimed the execution |
//! | `attune.control` | fanout exchange, durable | cancellations, and rings that made a queue, which nobody may follow yet |
//! | named by the broker | exclusive queue, `x-max-length` 1000 | what is sent to `attune.control`, for one worker |
//!
//! Everybody declares what they use, with the same arguments: whoever comes first makes it.

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use sha2::{Digest, Sha256};

use crate::requirement::Requirement;

/// The exchange to which queued executions are rung.
pub(super) const EXECUTIONS: &str = "attune.executions";

/// The exchange to which everything is rung that concerns every worker.
pub(super) const CONTROL: &str = "attune.control";

/// Longest name of a queue, in bytes (<https://www.rabbitmq.com/docs/queues#names>).
const LONGEST_NAME: usize = 255;

/// The reply code of a channel that is closed because it is not needed any more (AMQP 0-9-1, section 1.2 of the reference).
pub(super) const REPLY_SUCCESS: u16 = 200;

/// Milliseconds after which a queue that nobody uses is deleted (<https://www.rabbitmq.com/docs/ttl#queue-ttl>): a week. What
/// waits in it is still in the store.
const UNUSED: i32 = 7 * 24 * 60 * 60 * 1000;

/// Rings that a worker may have pending in its own queue: of any more, the oldest are dropped.
const MAX_PENDING: i32 = 1000;

/// Name of the queue of a requirement: its text, or a digest of that when it is too long for a name.
pub(super) fn queue_name(requirement: &Requirement) -> ShortString {
    let name = format!("{EXECUTIONS}.{requirement}");
    if name.len() <= LONGEST_NAME {
        return name.into();
    }
    let digest = hex::encode(Sha256::digest(requirement.to_string()));
    format!("{EXECUTIONS}.sha256:{digest}").into()
}

/// Sees to it that both exchanges are there.
pub(super) async fn declare_exchanges(channel: &Channel) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare(EXECUTIONS.into(), ExchangeKind::Direct, durable, none()).await?;
    channel.exchange_declare(CONTROL.into(), ExchangeKind::Fanout, durable, none()).await
}

/// Sees to it that the queue of a requirement is there.
pub(super) async fn declare_queue(channel: &Channel, name: &ShortString) -> lapin::Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    arguments.insert("x-expires".into(), UNUSED.into());
    channel.queue_declare(name.clone(), durable, arguments).await?;
    bind(channel, name, EXECUTIONS, name).await
}

/// How many messages are in a queue and not delivered; `None` when there is no such queue, which closes the channel.
pub(super) async fn waiting_in(channel: &Channel, name: &ShortString) -> lapin::Result<Option<u32>> {
    let ask = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.clone(), ask, FieldTable::default()).await {
        Ok(queue) => Ok(Some(queue.message_count())),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(refused)
                if *refused.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) =>
            {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// Makes a queue for one worker, which the broker deletes with its connection, and returns its name.
pub(super) async fn declare_own_queue(channel: &Channel) -> lapin::Result<ShortString> {
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let mut limit = FieldTable::default();
    limit.insert("x-max-length".into(), MAX_PENDING.into());
    let queue = channel.queue_declare(ShortString::default(), own, limit).await?;
    let name = queue.name().clone();
    bind(channel, &name, CONTROL, &ShortString::default()).await?;
    Ok(name)
}

async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: &str,
    key: &ShortString,
) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.clone(), exchange.into(), key.clone(), options, FieldTable::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_the_name_of_its_requirement() {
        let name = |text: &str| queue_name(&text.parse().unwrap()).to_string();
        assert_eq!(name("python >=3.11; gpu=nvidia"), "attune.executions.python >=3.11; gpu=nvidia");
        let long = |last: char| {
            let labels = ('a'..='f').chain([last]).map(|key| format!("{key}={}", "x".repeat(60)));
            name(&format!("python; {}", labels.collect::<Vec<_>>().join("; ")))
        };
        assert_eq!(long('y').len(), "attune.executions.sha256:".len() + 64);
        assert_ne!(long('y'), long('z'));
    }
}
