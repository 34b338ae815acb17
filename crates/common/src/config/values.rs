//! How values are read that are more than a text or a number.

use std::time::Duration;

use serde::Deserialize;

/// Reads a time such as `10s`.
pub(super) fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    not_zero(parse_duration(&String::deserialize(deserializer)?)?)
}

/// Reads a time such as `10s`, where one is set.
pub(super) fn duration_or_default<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    optional_duration(deserializer)?.map(not_zero).transpose()
}

/// Reads a time such as `10s` or `0s`, where one is set.
pub(super) fn optional_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Option::<String>::deserialize(deserializer)?.as_deref().map(parse_duration).transpose()
}

fn not_zero<E: serde::de::Error>(duration: Duration) -> Result<Duration, E> {
    if duration.is_zero() {
        return Err(E::custom("a time longer than zero is expected"));
    }
    Ok(duration)
}

fn parse_duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text)
        .map_err(|_| E::custom(format!("{text:?} is not a time such as 500ms, 10s or 1h 30m")))
}

/// Reads a number of connections: one listens, so that at least one more is needed.
pub(super) fn connections<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    let number = Option::<u32>::deserialize(deserializer)?;
    if number.is_some_and(|number| number < 2) {
        return Err(serde::de::Error::custom("at least 2 connections are needed: one of them listens"));
    }
    Ok(number)
}
