use std::{fs, os::unix::ffi::OsStrExt, path::PathBuf};

use attune_common::{
    config::Sources,
    model::{ParameterSchema, Parameters},
};
use tempfile::TempDir;

use super::*;

const LIMITS: ArtifactLimits =
    ArtifactLimits { count: 10, bytes: 1_000_000_000, time: Duration::from_mins(10) };

/// A folder as an action leaves it, and a store.
struct Left {
    folder: TempDir,
    place: TempDir,
    limits: ArtifactLimits,
    end: watch::Sender<Option<EndReason>>,
}

impl Left {
    fn new() -> Self {
        let [folder, place] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        Self { folder, place, limits: LIMITS, end: watch::Sender::new(None) }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    async fn collect_into(&self, url: &str) -> Result<Vec<Artifact>, String> {
        let mut config = Sources::default().load().unwrap().artifacts;
        config.url = url.to_owned();
        let store = ArtifactStore::open(&config).unwrap();
        let collector = ArtifactCollector { store, limits: self.limits, grace: Duration::from_millis(1) };
        let redactor = Redactor::new(&ParameterSchema::default(), &Parameters::default()).unwrap();
        let (folder, end) = (self.folder.path(), self.end.subscribe());
        let collected = collector.collect(ExecutionId::new(), 1, folder, &redactor, end).await;
        collected.map_err(|reason| match reason {
            NotStored::Failed(error) => format!("{error:#}"),
            NotStored::Interrupted(reason) => format!("{reason:?}"),
        })
    }

    async fn collect(&self) -> Result<Vec<Artifact>, String> {
        let collected = self.collect_into(&format!("file://{}", self.place.path().display())).await;
        let kept = walkdir::WalkDir::new(self.place.path()).into_iter().map(Result::unwrap);
        let kept = kept.filter(|entry| entry.file_type().is_file()).count();
        assert_eq!(kept, collected.as_ref().map_or(0, Vec::len), "all of it or nothing");
        collected
    }
}

#[tokio::test]
async fn files_are_stored_by_path_with_size_hash_and_type() {
    let left = Left::new();
    assert_eq!(left.collect().await.unwrap(), []);
    left.write("b/summary.csv", b"region,total\nnorth,3\n");
    left.write("a", b"");
    left.write("größe #1.txt", b"abc");
    let large = vec![7; PIECE_BYTES * 2 + 1];
    left.write("b/large", &large);
    fs::create_dir(left.path("empty")).unwrap();
    let stored = left.collect().await.unwrap();
    let lines: Vec<String> = stored
        .iter()
        .map(|one| format!("{} {} {} {}", one.path, one.size, one.media_type, &one.sha256[..8]))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(stored.iter().all(|one| one.sha256.len() == 64));
}

/// Leaves something that is refused.
type Make<'a> = &'a dyn Fn(&Left);

#[tokio::test]
async fn what_is_not_an_ordinary_file_is_refused_by_name() {
    let others = tempfile::tempdir().unwrap();
    fs::write(others.path().join("of others"), "secret").unwrap();
    let make: [(&str, Make<'_>); 12] = [
        ("link", &|left| std::os::unix::fs::symlink("/etc/shadow", left.path("x")).unwrap()),
        ("link to a folder", &|left| std::os::unix::fs::symlink("/etc", left.path("x")).unwrap()),
        ("link to itself", &|left| std::os::unix::fs::symlink(".", left.path("d/x")).unwrap()),
        ("hard link", &|left| fs::hard_link(others.path().join("of others"), left.path("x")).unwrap()),
        ("pipe", &|left| {
            rustix::fs::mknodat(rustix::fs::CWD, left.path("x"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
        }),
        ("socket", &|left| drop(std::os::unix::net::UnixListener::bind(left.path("x")).unwrap())),
        ("not UTF-8", &|left| {
            fs::write(left.folder.path().join(std::ffi::OsStr::from_bytes(b"x\xff")), "").unwrap();
        }),
        ("control character", &|left| left.write("x\u{1b}[2J", b"")),
        ("long name", &|left| left.write(&"x".repeat(250), b"")),
        ("deep", &|left| left.write(&["d"; 33].join("/"), b"")),
        ("too many", &|left| (0..9).for_each(|n| left.write(&format!("x{n}"), b""))),
        ("too large", &|left| {
            fs::File::create(left.path("x")).unwrap().set_len(LIMITS.bytes).unwrap();
        }),
    ];
    let mut told = Vec::new();
    for (what, make) in make {
        let left = Left::new();
        left.write("good", b"1");
        left.write("other", b"2");
        make(&left);
        let error = left.collect().await.unwrap_err();
        told.push(format!("{what}: {}", error.replace(&"x".repeat(250), "LONG")));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_place_that_takes_nothing_is_told_with_the_key_that_chooses_another() {
    let left = Left::new();
    let url = "file:///proc/attune/artifacts";
    assert_eq!(left.collect_into(url).await.unwrap(), [], "who leaves nothing needs no place");
    left.write("good", b"1");
    insta::assert_snapshot!(left.collect_into(url).await.unwrap_err());
}

#[tokio::test]
async fn storing_ends_when_the_execution_must() {
    for (reason, expected) in [
        (EndReason::LeaseLost, "LeaseLost"),
        (EndReason::GivenBack, "GivenBack"),
        (EndReason::WorkerStopped, "the worker was told to stop at once"),
    ] {
        let left = Left::new();
        // longer than any of them waits
        let mut file = fs::File::create(left.path("large")).unwrap();
        file.set_len(900_000_000).unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        left.end.send_replace(Some(reason));
        assert_eq!(left.collect().await.unwrap_err(), expected);
    }
    let mut left = Left::new();
    left.limits.time = Duration::from_millis(1);
    fs::File::create(left.path("large")).unwrap().set_len(900_000_000).unwrap();
    insta::assert_snapshot!(left.collect().await.unwrap_err());
    // those who cancel want to know why
    let left = Left::new();
    left.write("why", b"because");
    left.end.send_replace(Some(EndReason::Cancelled));
    assert_eq!(left.collect().await.unwrap().len(), 1);
}
