//! Keeping many from doing the same at the same moment.

use std::time::Duration;

/// A time between half of this one and all of it, drawn anew with every call.
#[must_use]
pub fn stagger(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_less_than_half_nor_more_than_all() {
        let second = Duration::from_secs(1);
        let drawn: Vec<Duration> = (0..1000).map(|_| stagger(second)).collect();
        assert!(drawn.iter().all(|time| (second / 2..=second).contains(time)), "{drawn:?}");
        assert!(drawn.iter().any(|time| *time != drawn[0]));
    }
}
