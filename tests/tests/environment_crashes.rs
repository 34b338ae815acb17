//! Eight workers that want one environment, of which whoever builds it is killed: fifty times. Every second one has process
//! and mount namespaces of its own, as containers that share a volume have.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use attune_tests::{
    binaries,
    processes::{below, parents},
    service::{Machine, runtimes},
};
use attune_worker::cache::Cache;

const CONTENDERS: usize = 8;
const KILLS: u64 = 50;

/// A virtual environment with 200 modules, compiled: much that can be missing.
const RECIPE: &str = r#"
name: python
lock_files: [modules.lock]
create:
  - ["{interpreter}", -m, venv, --without-pip, "{env_dir}"]
install:
  - [sh, -c, 'i=0; cd "$1"/lib/python*/site-packages; while [ $i -lt 200 ]; do echo "N = $i" >m$i.py; i=$((i + 1)); done',
     sh, "{env_dir}"]
  - ["{env_dir}/bin/python", -m, compileall, -q, "{env_dir}/lib"]
interpreter: "{env_dir}/bin/python"
"#;

struct Arena {
    machine: Machine,
    python: PathBuf,
    contenders: Vec<Child>,
    version: usize,
    checked: BTreeSet<String>,
}

impl Arena {
    async fn new() -> Self {
        let python = runtimes("python").await.runtimes[0].interpreters[0].path.clone();
        let mut arena = Self {
            machine: Machine::new().await,
            python,
            contenders: Vec::new(),
            version: 0,
            checked: BTreeSet::new(),
        };
        arena.next_version().await;
        arena
    }

    fn environments(&self) -> PathBuf {
        self.machine.folder().join("cache/environments")
    }

    /// Pushes a pack that needs an environment which nobody has built yet, and has all contenders want it.
    async fn next_version(&mut self) {
        self.version += 1;
        let pack = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("pack.yaml", "ref: test\nversion: 1.0.0\n".to_owned()),
            ("modules.lock", format!("version {}\n", self.version)),
            ("runtimes/python.yaml", RECIPE.to_owned()),
            ("actions/a.yaml", "ref: test.a\nrunner_type: python\nentry_point: a.py\n".to_owned()),
            ("actions/a.py", String::new()),
        ] {
            fs::create_dir_all(pack.path().join(path).parent().unwrap()).unwrap();
            fs::write(pack.path().join(path), text).unwrap();
        }
        self.machine.push_folder(pack.path()).await;
        self.kill_all();
        for number in 0..CONTENDERS {
            let contender = self.start(number);
            self.contenders.push(contender);
        }
    }

    fn kill_all(&mut self) {
        for mut contender in self.contenders.drain(..) {
            contender.kill().unwrap();
            contender.wait().unwrap();
        }
    }

    fn start(&self, number: usize) -> Child {
        let worker = binaries::path("attune-worker");
        let mut command =
            if number.is_multiple_of(2) { in_own_namespaces(&worker) } else { Command::new(worker) };
        command
            .env("ATTUNE__DATABASE__URL", self.machine.url())
            .env("ATTUNE__WORKER__CACHE_DIR", self.machine.folder().join("cache"))
            .env("ATTUNE__WORKER__RUNTIMES", format!("python={}", self.python.display()))
            .env("ATTUNE_WORKER_NAME", format!("contender-{number}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The contender that builds now: who holds an exclusive lock (proc(5), /proc/locks).
    fn builder(&self) -> Option<usize> {
        let locks = fs::read_dir(self.environments()).into_iter().flatten().flatten();
        let inodes: Vec<String> =
            locks.filter_map(|entry| Some(format!(":{} ", entry.metadata().ok()?.ino()))).collect();
        let table = fs::read_to_string("/proc/locks").unwrap();
        let line = table.lines().find(|line| {
            line.contains("FLOCK  ADVISORY  WRITE") && inodes.iter().any(|inode| line.contains(inode))
        })?;
        let holder: i32 = line.split_whitespace().nth(4)?.parse().ok()?;
        let parents = parents();
        self.contenders.iter().position(|contender| {
            let contender = contender.id().cast_signed();
            contender == holder || below(contender, &parents).contains(&holder)
        })
    }

    /// Kills a contender without any warning, and starts another in its place.
    fn replace(&mut self, number: usize) {
        self.contenders[number].kill().unwrap();
        self.contenders[number].wait().unwrap();
        self.contenders[number] = self.start(number);
    }

    /// Checks the environments that became visible since the last look: they must work at this very moment.
    fn check_new(&mut self) -> usize {
        let visible: BTreeSet<String> = self.machine.kept("environments").into_iter().collect();
        for key in visible.difference(&self.checked) {
            check(&self.environments().join(key));
        }
        self.checked = visible;
        self.checked.len()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// A worker as the first process of a namespace, which ends with it.
fn in_own_namespaces(worker: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(worker);
    command
}

fn check(environment: &Path) {
    let script = "import sys; print(sys.prefix, sum(__import__(f'm{i}').N for i in range(200)))";
    let output = Command::new(environment.join("bin/python")).args(["-c", script]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().ends_with(" 19900"), "{}: {said}", environment.display());
    let real = fs::canonicalize(environment).unwrap();
    let compiled =
        walk(&real).into_iter().filter(|path| path.extension().is_some_and(|end| end == "pyc")).count();
    assert_eq!(compiled, 200, "{}", real.display());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o222, 0, "it is read-only");
    assert!(!real.join(".building").exists());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn a_killed_builder_leaves_nothing_or_a_whole_environment() {
    let mut arena = Arena::new().await;
    let (mut kills, mut tried) = (0, 0);
    while kills < KILLS {
        if let Some(builder) = arena.builder() {
            // anywhere between the first file and the moment when it becomes visible
            tokio::time::sleep(Duration::from_millis((tried * 137) % 400)).await;
            tried += 1;
            // only who still builds counts
            if arena.builder() == Some(builder) {
                arena.replace(builder);
                kills += 1;
            }
        }
        if arena.check_new() == arena.version {
            arena.next_version().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while arena.check_new() < arena.version {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    arena.kill_all();
    // installers outlive a worker that is killed; whatever they write lies where nobody looks, until it is collected
    let cache = Cache::new(arena.environments());
    loop {
        cache.collect(Duration::MAX, u64::MAX).unwrap();
        // a link, its folder, and a lock
        if fs::read_dir(arena.environments()).unwrap().count() == 3 * arena.version {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    arena.checked.clear();
    assert_eq!(arena.check_new(), arena.version, "they all still work");
}
