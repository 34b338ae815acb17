//! What goes in and what comes out.

use attune_worker::process::Status;

use super::*;

#[tokio::test]
async fn both_streams_and_the_status_arrive() {
    let run = shell("echo out; echo err >&2; exit 7").await;
    assert_eq!(run.ending.status, Status::Exited(7));
    assert_eq!((run.ending.timed_out, run.ending.reason, run.ending.leaked), (false, None, false));
    assert_eq!((run.stdout.as_slice(), run.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
}

#[tokio::test]
async fn ten_megabytes_go_in_and_come_out() {
    let input: Vec<u8> = (0..10 * 1024 * 1024).map(|n: u32| n.to_le_bytes()[1]).collect();
    let run = Ask { stdin: &input, ..Ask::new("exec cat") }.run().await;
    assert!(run.stdout == input, "every byte must come back in order");
}

#[tokio::test]
async fn every_byte_survives() {
    let input: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let run = Ask { stdin: &input, ..Ask::new("tee /dev/stderr") }.run().await;
    assert!(run.stdout == input && run.stderr == input);
}

#[tokio::test]
async fn input_that_is_not_read_is_no_error() {
    let run = Ask { stdin: &vec![b'x'; 1024 * 1024], ..Ask::new("exit 0") }.run().await;
    assert_eq!(run.ending.status, Status::Exited(0));
}

#[tokio::test]
async fn input_that_is_not_read_does_not_outlast_the_time_limit() {
    let ask = Ask::new("exec sleep 300");
    let run =
        Ask { stdin: &vec![b'x'; 1024 * 1024], limits: limits(Duration::from_millis(100), LONG), ..ask };
    assert!(run.run().await.ending.timed_out);
}

#[tokio::test]
async fn input_ends_and_without_any_there_is_none() {
    for (stdin, expected) in [(b"".as_slice(), "0"), (b"four", "4")] {
        let run = Ask { stdin, ..Ask::new("cat | wc -c") }.run().await;
        assert_eq!(run.text(), expected);
    }
    assert_eq!(shell("cat /dev/stdin; echo end").await.text(), "end");
}

#[tokio::test]
async fn output_that_nobody_wants_does_not_stop_the_process() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let (_end, reason) = watch::channel(None);
    let loud = Ask::new("head -c 10000000 /dev/zero").spec();
    let ending = process::run(loud, limits(LONG, LONG), sender, reason).await.unwrap();
    assert_eq!(ending.status, Status::Exited(0));
}
