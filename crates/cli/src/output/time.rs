//! Times for people.

use jiff::Timestamp;

/// How long ago something was, such as `12 s ago`.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    // the server's clock may be a little ahead
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0 => "just now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        86_400..172_800 => "1 day ago".to_owned(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A duration in two units at most, such as `1.24 s` or `2 min 5 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    // from here on a number would be rounded up to the next unit
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1_000.0);
    }
    if seconds < 60.0 && seconds.fract() == 0.0 {
        return format!("{seconds:.0} s");
    }
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min {rest} s") }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn ages() {
        let now: Timestamp = "2025-06-01T12:00:00Z".parse().unwrap();
        for (seconds, text) in [
            (-5, "just now"),
            (0, "just now"),
            (12, "12 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (86_400, "1 day ago"),
            (400_000, "4 days ago"),
        ] {
            assert_eq!(ago(now, now - SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.0, "0 ms"),
            (0.0404, "40 ms"),
            (0.9996, "1.00 s"),
            (1.239, "1.24 s"),
            (30.0, "30 s"),
            (9.999, "10.0 s"),
            (59.99, "1 min 0 s"),
            (125.2, "2 min 5 s"),
            (7_380.0, "2 h 3 min"),
            (f64::NAN, "0 ms"),
            (-1.0, "0 ms"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }
}
