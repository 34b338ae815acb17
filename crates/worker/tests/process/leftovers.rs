//! Killed supervisors and killed workers: nothing of an action outlives them.

use std::process::Command;

use attune_worker::process::Status;

use super::*;

/// Processes whose command line contains a text.
fn running(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| {
        let line = std::fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text) && alive(pid)
    })
    .collect()
}

#[tokio::test]
async fn a_killed_supervisor_takes_everything_with_it() {
    let mut ask = Ask::new("setsid sleep 301.01 & setsid sleep 301.01 & echo $PPID; sleep 301.01");
    ask.environment.push(("ATTUNE_ARTIFACTS_DIR".into(), "/nonexistent/of-this-test".into()));
    let (sender, mut receiver) = mpsc::channel(4);
    let (_end, reason) = watch::channel(None);
    let task = tokio::spawn(process::run(ask.spec(), ask.limits, sender, reason));
    let supervisor = String::from_utf8(receiver.recv().await.unwrap().data).unwrap();
    wait_for("three processes", || running("sleep\u{0}301.01").len() == 3).await;
    assert!(Command::new("kill").args(["-9", supervisor.trim()]).status().unwrap().success());
    let ending = task.await.unwrap().unwrap();
    assert_eq!(ending.status, Status::Unseen);
    assert_eq!(running("sleep\u{0}301.01"), Vec::<String>::new());
}

#[tokio::test]
async fn a_worker_that_is_gone_takes_everything_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join("workspace");
    std::fs::create_dir_all(workspace.join("locked/inner")).unwrap();
    let script = format!("chmod 0 {}/locked; setsid sleep 302.02 & sleep 302.02", workspace.display());
    let mut spec = Ask::new(&script).spec();
    spec.workspace = Some(workspace.clone());
    let (sender, _receiver) = mpsc::channel(4);
    let (_end, reason) = watch::channel(None);
    let task = tokio::spawn(process::run(spec, limits(LONG, LONG), sender, reason));
    wait_for("two processes", || running("sleep\u{0}302.02").len() == 2).await;
    // what the kernel does to a killed worker's descriptors
    task.abort();
    wait_for("their end", || running("302.02").is_empty()).await;
    wait_for("the end of the workspace", || !workspace.exists()).await;
}
