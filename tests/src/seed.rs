//! Randomness that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// The number in an environment variable, if it is set.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Random numbers from the seed in an environment variable, or else from one of its own, which it prints.
#[must_use]
#[expect(clippy::print_stdout, reason = "whoever sees a test fail repeats it with this")]
pub fn random(variable: &str) -> Rng {
    let seed = number(variable).unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_nanos() as u64
    });
    println!("{variable}={seed}");
    Rng::with_seed(seed)
}
