//! How fast secrets are taken out of output, for 0 to 50 secrets.
//!
//! The baseline, in the same run: copying the same pieces. Prints a table and one line of JSON.

#![expect(clippy::print_stdout, reason = "a report")]

use std::{fmt::Write, hint::black_box, time::Instant};

use attune_common::model::{ParameterSchema, Parameters};
use attune_worker::redact::Redactor;
use serde_json::{Map, Value, json};

const TOTAL: usize = 256 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// A line of a log, over and over with other numbers; every 200th has the first secret.
fn text(secret: &str) -> Vec<u8> {
    let mut text = String::with_capacity(9 * 1024 * 1024);
    let mut number: u64 = 1;
    for line in 0_u64.. {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let level = ["INFO", "DEBUG", "WARN", "ERROR"][(number >> 62) as usize];
        let token = if line % 200 == 0 { secret } else { "-" };
        // writing to a string cannot fail
        let _ = writeln!(
            text,
            "2026-11-24T10:{:02}:{:02}.{:03}Z {level} request id={number:016x} GET /api/v1/items/{} 200 in {} ms, auth {token}",
            line / 60 % 60,
            line % 60,
            number % 1000,
            number % 100_000,
            number >> 56,
        );
        if text.len() >= 8 * 1024 * 1024 {
            break;
        }
    }
    text.truncate(text.len() / PIECE * PIECE);
    text.into_bytes()
}

/// Passwords, tokens and a few keys of several lines, as actions get them.
fn secrets(count: usize) -> Redactor {
    let value = |n: usize| match n % 5 {
        0 => format!("ghp_{}", format!("{:016x}", n as u64 ^ 0x9e37_79b9_7f4a_7c15).repeat(2)),
        1 => format!("p@ss/w0rd & more={n}"),
        2 => format!("postgres://user{n}:s3cr3t-{n}@db.example.org:5432/name?sslmode=require"),
        3 => format!("hunter{n}hunter"),
        _ => {
            let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
            (0..12).fold("-----BEGIN KEY-----\n".to_owned(), |key, l| {
                format!("{key}{l:02}{n:02}{}\n", &line[4..])
            })
        }
    };
    let values: Map<String, Value> = (0..count).map(|n| (format!("p{n}"), Value::from(value(n)))).collect();
    let schema: Map<String, Value> = values.keys().map(|n| (n.clone(), json!({"secret": true}))).collect();
    let schema: ParameterSchema = serde_json::from_value(Value::Object(schema)).expect("a schema");
    Redactor::new(&schema, &Parameters(values)).expect("few enough")
}

/// Megabytes a second.
fn speed(text: &[u8], mut take: impl FnMut(Vec<u8>) -> Vec<u8>) -> f64 {
    let start = Instant::now();
    let mut bytes = 0;
    for piece in text.chunks(PIECE).cycle().take(TOTAL / PIECE) {
        bytes += piece.len();
        black_box(take(piece.to_vec()));
    }
    bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn main() {
    let lines = text(&format!("ghp_{}", format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64).repeat(2)));
    let one_line: Vec<u8> = lines.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
    let copied = speed(&lines, |piece| piece);
    println!("redaction of {} MB in pieces of {} KiB, MB/s", TOTAL / 1_000_000, PIECE / 1024);
    println!("{:24}{:>10}{:>10}{:>12}", "", "MB/s", "of copy", "prepared ms");
    println!("{:24}{copied:10.0}{:10.2}", "copy", 1.0);
    let mut measured = Vec::new();
    for (name, text) in [("lines", &lines), ("one line", &one_line)] {
        for count in [0, 1, 5, 50] {
            let start = Instant::now();
            let redactor = secrets(count);
            let prepared = start.elapsed().as_secs_f64() * 1000.0;
            let mut stream = redactor.stream();
            let speed = speed(text, |piece| stream.push(piece));
            let ratio = speed / copied;
            println!("{:24}{speed:10.0}{ratio:10.2}{prepared:12.1}", format!("{name}, {count} secrets"));
            measured.push(json!({"text": name, "secrets": count, "mb_per_s": speed.round(), "ratio": ratio, "prepare_ms": prepared}));
        }
    }
    println!(
        "{}",
        json!({"benchmark": "redaction", "unit": "MB/s", "copy": copied.round(), "redacted": measured})
    );
}
