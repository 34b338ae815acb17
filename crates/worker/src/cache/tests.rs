//! Entries that are filled, used and removed, at the same time and by crashes.

use std::{os::unix::fs::MetadataExt, time::SystemTime};

use super::*;

const LONG: Duration = Duration::from_hours(1);

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("cache"));
    (folder, cache)
}

async fn take(cache: &Cache, key: &str) -> Taken {
    cache.take(key, || {}).await.unwrap()
}

async fn vacant(cache: &Cache, key: &str) -> Vacancy {
    match take(cache, key).await {
        Taken::Vacant(vacancy) => vacancy,
        Taken::Whole(lease) => panic!("{key} is there: {}", lease.path().display()),
    }
}

async fn whole(cache: &Cache, key: &str) -> Lease {
    match take(cache, key).await {
        Taken::Whole(lease) => lease,
        Taken::Vacant(_) => panic!("{key} is not there"),
    }
}

async fn fill(cache: &Cache, key: &str, content: &str) {
    let vacancy = vacant(cache, key).await;
    fs::write(vacancy.folder().join("file"), content).unwrap();
    vacancy.publish(None).unwrap();
}

/// Makes an entry look as if it had been used last so long ago.
fn age(cache: &Cache, key: &str, age: Duration) {
    let lock = fs::File::open(cache.lock_file(key)).unwrap();
    lock.set_modified(SystemTime::now() - age).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn what_is_published_is_whole_where_it_was_filled_and_read_only() {
    let (_folder, cache) = cache();
    let vacancy = vacant(&cache, "k").await;
    let filled = vacancy.folder().to_owned();
    fs::create_dir_all(filled.join("bin")).unwrap();
    fs::create_dir_all(filled.join("open")).unwrap();
    fs::write(filled.join("bin/tool"), "x").unwrap();
    fs::set_permissions(filled.join("bin/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(filled.join("data"), "x").unwrap();
    fs::set_permissions(filled.join("data"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("data", filled.join("link")).unwrap();
    fs::set_permissions(filled.join("open"), fs::Permissions::from_mode(0o755)).unwrap();
    vacancy.publish(Some(&filled.join("open"))).unwrap();
    let lease = whole(&cache, "k").await;
    assert_eq!(lease.path(), filled);
    let modes = ["", "bin", "bin/tool", "data", "open"].map(|name| mode(&filled.join(name)));
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["555", "555", "555", "444", "755"]);
}

#[tokio::test]
async fn what_is_not_published_leaves_nothing() {
    let (_folder, cache) = cache();
    let vacancy = vacant(&cache, "k").await;
    fs::create_dir(vacancy.folder().join("half")).unwrap();
    fs::set_permissions(vacancy.folder().join("half"), fs::Permissions::from_mode(0o500)).unwrap();
    drop(vacancy);
    assert_eq!(cache.names().unwrap(), ["k.lock"]);
    assert_eq!(cache.collect(LONG, 0).unwrap(), Collected::default());
    assert_eq!(cache.names().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn leftovers_of_a_crash_are_no_entry_and_go_when_it_is_filled_again() {
    let (_folder, cache) = cache();
    fs::create_dir_all(cache.folder().join("k.half/bin")).unwrap();
    symlink("k.half", cache.folder().join("k.half.link")).unwrap();
    symlink("k.gone", cache.folder().join("k")).unwrap();
    fs::create_dir_all(cache.folder().join("other.half")).unwrap();
    fill(&cache, "k", "whole").await;
    let lease = whole(&cache, "k").await;
    let mut names = cache.names().unwrap();
    names.sort();
    let content = lease.path().file_name().unwrap().to_str().unwrap();
    let mut expected = ["k", content, "k.lock", "other.half"];
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn one_fills_while_all_others_wait_and_then_use_the_same() {
    let (_folder, cache) = cache();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let cache = cache.clone();
        tasks.spawn(async move {
            let mut filled = 0;
            loop {
                match take(&cache, "k").await {
                    Taken::Whole(lease) => break (filled, lease.path().to_owned()),
                    Taken::Vacant(vacancy) => {
                        filled += 1;
                        tokio::task::yield_now().await;
                        vacancy.publish(None).unwrap();
                    }
                }
            }
        });
    }
    let ends = tasks.join_all().await;
    assert_eq!(ends.iter().map(|(filled, _)| filled).sum::<u32>(), 1);
    assert!(ends.iter().all(|(_, path)| *path == ends[0].1));
}

#[tokio::test]
async fn waiting_is_said_once() {
    let (_folder, cache) = cache();
    let vacancy = vacant(&cache, "k").await;
    let (said, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let waits = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.take("k", || said.send(()).unwrap()).await.unwrap() })
    };
    hear.recv().await.unwrap();
    vacancy.publish(None).unwrap();
    assert!(matches!(waits.await.unwrap(), Taken::Whole(_)));
    assert!(hear.recv().await.is_none(), "it was said once");
}

#[tokio::test]
async fn what_is_old_goes_but_never_what_is_used() {
    let (_folder, cache) = cache();
    for key in ["old", "used", "fresh"] {
        fill(&cache, key, "x").await;
    }
    let lease = whole(&cache, "used").await;
    age(&cache, "old", 2 * LONG);
    age(&cache, "used", 2 * LONG);
    let collected = cache.collect(LONG, u64::MAX).unwrap();
    assert_eq!((collected.removed, collected.kept), (1, 2));
    assert!(lease.path().join("file").exists());
    assert!(cache.content("old").is_none());
    drop(lease);
    assert_eq!(cache.collect(LONG, u64::MAX).unwrap().removed, 1, "its use has ended");
}

#[tokio::test]
async fn what_is_too_much_goes_the_least_recently_used_first() {
    let (_folder, cache) = cache();
    for (key, minutes) in [("a", 3), ("b", 2), ("c", 1)] {
        fill(&cache, key, &"x".repeat(100_000)).await;
        age(&cache, key, Duration::from_secs(60 * minutes));
    }
    // what is used most recently stays
    drop(whole(&cache, "a").await);
    let all = cache.collect(LONG, u64::MAX).unwrap();
    assert!(all.bytes >= 300_000, "{all:?}");
    let collected = cache.collect(LONG, all.bytes - 1).unwrap();
    assert_eq!((collected.removed, collected.kept), (1, 2));
    assert!(cache.content("b").is_none(), "the one that was used longest ago");
    assert_eq!(cache.collect(LONG, 0).unwrap(), Collected { removed: 2, kept: 0, bytes: 0 });
    assert_eq!(cache.names().unwrap(), Vec::<String>::new());
}

#[test]
fn a_copy_can_be_written_and_a_link_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir_all(place("from/sub")).unwrap();
    fs::write(place("from/sub/file"), "x").unwrap();
    symlink("sub/file", place("from/link")).unwrap();
    tree::seal(&place("from"), None).unwrap();
    for to in ["copied", "linked"] {
        fs::create_dir(place(to)).unwrap();
    }
    copy(&place("from"), &place("copied")).unwrap();
    link(&place("from"), &place("linked")).unwrap();
    assert_eq!(mode(&place("copied/sub/file")) & 0o200, 0o200);
    assert_eq!(fs::read_link(place("copied/link")).unwrap(), Path::new("sub/file"));
    let inode = |name: &str| fs::metadata(place(name)).unwrap().ino();
    assert_eq!(inode("linked/sub/file"), inode("from/sub/file"));
    remove(&place("from")).unwrap();
    assert_eq!(fs::read_to_string(place("linked/link")).unwrap(), "x");
}
