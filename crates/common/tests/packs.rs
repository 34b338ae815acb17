//! Packs: honest ones load and unpack to what they were, dishonest ones are refused with a reason.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use attune_common::pack::{self, PackError, archive};
use tar::{EntryType, Header};

/// A tar file with whatever in it; the tar crate itself would not write most of these names.
#[derive(Default)]
struct Forgery(Vec<u8>);

impl Forgery {
    fn entry(mut self, kind: EntryType, name: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    fn compressed(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        zstd::encode_all(self.0.as_slice(), 1).unwrap()
    }
}

fn pack_yaml() -> Forgery {
    Forgery::default().file("pack.yaml", "ref: p\nversion: 1.0.0\n")
}

fn unpack(bytes: &[u8]) -> Result<tempfile::TempDir, PackError> {
    let folder = tempfile::tempdir().unwrap();
    pack::unpack(bytes, &archive::digest(bytes), folder.path()).map(|()| folder)
}

fn example(folder: &Path) {
    fs::create_dir_all(folder.join("actions/lib")).unwrap();
    fs::write(folder.join("pack.yaml"), "ref: p\nversion: 1.0\nlabel: A pack\nauthor: me\ncolour: red\n")
        .unwrap();
    fs::write(
        folder.join("actions/a.yaml"),
        "ref: p.a\nrunner_type: python3\nruntime_version: 3.10\nentry_point: a.py\n",
    )
    .unwrap();
    fs::write(folder.join("actions/a.py"), "print(1)\n").unwrap();
    fs::set_permissions(folder.join("actions/a.py"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("actions/lib/common.py"), "").unwrap();
    symlink("lib/common.py", folder.join("actions/shared.py")).unwrap();
    fs::create_dir(folder.join("__pycache__")).unwrap();
    fs::write(folder.join("__pycache__/x.pyc"), "cache").unwrap();
}

#[test]
fn a_folder_is_packed_read_and_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    example(folder.path());
    let (packed, loaded) = pack::read_folder(folder.path()).unwrap();
    assert_eq!((loaded.r#ref.as_str(), loaded.version.as_str()), ("p", "1.0"));
    assert_eq!(loaded.warnings, ["pack.yaml: unknown key 'colour' is ignored"]);
    // 3.10 is a version here, not the number 3.1
    assert_eq!(loaded.actions[0].requirement().to_string(), "python =3.10");
    let unpacked = unpack(&packed.bytes).unwrap();
    let place = |name: &str| unpacked.path().join(name);
    assert_eq!(fs::read_to_string(place("actions/a.py")).unwrap(), "print(1)\n");
    assert_eq!(fs::metadata(place("actions/a.py")).unwrap().permissions().mode() & 0o777, 0o555);
    assert_eq!(fs::metadata(place("pack.yaml")).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fs::read_link(place("actions/shared.py")).unwrap(), Path::new("lib/common.py"));
    assert!(!place("__pycache__").exists());
}

#[test]
fn the_same_content_gives_the_same_archive() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    example(first.path());
    example(second.path());
    fs::File::open(second.path().join("pack.yaml")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(archive::build(first.path()).unwrap().digest, archive::build(second.path()).unwrap().digest);
}

#[test]
fn dishonest_archives_are_refused() {
    let cases: Vec<(&str, Forgery)> = vec![
        ("parent", pack_yaml().file("../evil", "x")),
        ("parent inside", pack_yaml().file("actions/../../evil", "x")),
        ("absolute", pack_yaml().file("/etc/evil", "x")),
        ("absolute link", pack_yaml().entry(EntryType::Symlink, "link", "/etc/passwd", b"")),
        ("link out", pack_yaml().entry(EntryType::Symlink, "actions/link", "../../etc", b"")),
        ("link out by a detour", pack_yaml().entry(EntryType::Symlink, "link", "actions/../../etc", b"")),
        (
            "through a link",
            pack_yaml().entry(EntryType::Symlink, "link", "actions", b"").file("link/evil", "x"),
        ),
        ("hard link", pack_yaml().entry(EntryType::Link, "link", "/etc/passwd", b"")),
        ("device", pack_yaml().entry(EntryType::Char, "null", "", b"")),
        ("pipe", pack_yaml().entry(EntryType::Fifo, "pipe", "", b"")),
        ("twice", pack_yaml().file("pack.yaml", "ref: q\nversion: 2\n")),
    ];
    let mut told = Vec::new();
    for (name, forgery) in cases {
        let error = unpack(&forgery.compressed()).map(|_| ()).expect_err(name).to_string();
        // the folder is another one every time
        let error = error
            .split(": ")
            .map(|part| if part.contains("/tmp") { "cannot create DIR" } else { part })
            .collect::<Vec<_>>();
        told.push(format!("{name}: {}", error.join(": ")));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn an_archive_that_grows_without_end_is_refused() {
    let zeros = vec![0; 1024 * 1024];
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for number in 0..520 {
        let forged = Forgery::default().entry(EntryType::Regular, &format!("zeros-{number}"), "", &zeros);
        std::io::Write::write_all(&mut bomb, &forged.0).unwrap();
    }
    let bytes = bomb.finish().unwrap();
    assert!(bytes.len() < 1024 * 1024, "it is small: {} bytes", bytes.len());
    let error = pack::read_archive(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "the archive unpacks to more than 536870912 bytes");
}

#[test]
fn damaged_archives_are_refused() {
    let good = pack_yaml().compressed();
    let cut = &good[..good.len() / 2];
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(pack::read_archive(cut), Err(PackError::Unreadable(_))));
    assert!(matches!(pack::read_archive(b"not zstd"), Err(PackError::Unreadable(_))));
    let error = pack::unpack(cut, &archive::digest(&good), folder.path()).unwrap_err();
    assert!(matches!(error, PackError::Digest { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was unpacked");
}

#[test]
fn bad_manifests_name_the_file_and_the_fault() {
    let action = |text: &str| pack_yaml().file("actions/run.sh", "").file("actions/a.yaml", text);
    let cases = [
        Forgery::default().file("readme", ""),
        Forgery::default().file("pack.yaml", "ref: [p\n"),
        Forgery::default().file("pack.yaml", "ref: p\n"),
        Forgery::default().file("pack.yaml", "ref: My Pack\nversion: 1\n"),
        action("ref: p.a\nrunner_type: shell\n  entry_point: x\n"),
        action("ref: p.a\nentry_point: run.sh\n"),
        action("ref: q.a\nrunner_type: shell\nentry_point: run.sh\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: ../../etc/passwd\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: gone.sh\n"),
        action("ref: p.a\nrunner_type: shell\n"),
        action("ref: p.a\nrunner_type: python\nruntime_version: newest\nentry_point: run.sh\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\nparameters: {n: {type: intger}}\n"),
        action(
            "ref: p.a\nrunner_type: shell\nentry_point: run.sh\nparameters: {n: {type: integer, default: x}}\n",
        ),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\nparameter_delivery: argv\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\ntimeout: -1\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\nmax_attempts: 0\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\nlabels: {gpu: a b}\n"),
        action("ref: p.a\nrunner_type: group\nmembers: [{action: p.b}]\n"),
        action("ref: p.a\nrunner_type: group\nmembers: [{action: p.a}]\n"),
        action("ref: p.a\nrunner_type: group\n"),
        action("ref: p.a\nrunner_type: shell\nentry_point: run.sh\n")
            .file("actions/b.yml", "ref: p.a\nrunner_type: shell\nentry_point: run.sh\n"),
    ];
    let told: Vec<String> = cases
        .into_iter()
        .map(|case| pack::read_archive(&case.compressed()).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn unknown_keys_warn_with_the_nearest_known_one() {
    let pack = pack_yaml()
        .file("actions/run.sh", "")
        .file("actions/a.yaml", "ref: p.a\nrunner_type: shell\nentry_point: run.sh\nentrypoint: x\nzzz: 1\n");
    let loaded = pack::read_archive(&pack.compressed()).unwrap();
    insta::assert_snapshot!(loaded.warnings.join("\n"), @"
    actions/a.yaml: unknown key 'entrypoint' is ignored; is 'entry_point' meant?
    actions/a.yaml: unknown key 'zzz' is ignored
    ");
}

#[test]
fn the_example_pack_loads_without_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/examples");
    let (_, loaded) = pack::read_folder(&folder).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let runtimes: std::collections::BTreeSet<&str> =
        loaded.actions.iter().map(|action| action.runner_type.as_str()).collect();
    let expected = ["go", "group", "java", "node", "perl", "python", "r", "ruby", "shell"];
    assert_eq!(runtimes.into_iter().collect::<Vec<_>>(), expected);
}

/// A pack of one shell action, and recipes: each a file name and a text.
fn with_recipes(recipes: &[(&str, &str)]) -> Vec<u8> {
    let pack = pack_yaml()
        .file("actions/run.sh", "")
        .file("actions/a.yaml", "ref: p.a\nrunner_type: shell\nentry_point: run.sh\n")
        .file("lua.lock", "inspect 3.1\n")
        .file("vendor/inspect.lua", "return {}\n");
    recipes.iter().fold(pack, |pack, (name, text)| pack.file(&format!("runtimes/{name}"), text)).compressed()
}

#[test]
fn bad_recipes_name_the_file_and_the_fault() {
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![("lua.yaml", "lock_files: [lua.lock]\ninstall: [make]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: []\ninstall: [make]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [other.lock]\ninstall: [make]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [../lua.lock]\ninstall: [make]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [/etc/passwd]\ninstall: [make]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\ninstall: [\"make {pack}\"]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\ninstall: [[make, \"{env_dir\"]]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\ninstall: [\"make 'x\"]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\ninstall: [[]]\n")],
        vec![("lua.yaml", "name: lua\nlock_files: [lua.lock]\ninstall: [make]\nvariables: {\"A=B\": x}\n")],
        vec![("n.yaml", "name: native\nlock_files: [lua.lock]\ninstall: [make]\n")],
        vec![("x.yaml", "name: a b\nlock_files: [lua.lock]\ninstall: [make]\n")],
        vec![
            ("py.yaml", "name: py\nlock_files: [lua.lock]\ninstall: [make]\n"),
            ("python.yml", "name: Python3\nlock_files: [lua.lock]\ninstall: [make]\n"),
        ],
    ];
    let told: Vec<String> = cases
        .into_iter()
        .map(|case| pack::read_archive(&with_recipes(&case)).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_recipe_is_found_by_any_name_of_its_runtime() {
    let text = "name: NodeJS\nlock_files: [lua.lock, vendor]\ncreate:\n  - mkdir '{env_dir}/a b'\n  - [cp, '{pack_dir}/x', \
                '{{}}']\ninstalls: [x]\n";
    let archive = with_recipes(&[("node.yaml", text)]);
    let loaded = pack::read_archive(&archive).unwrap();
    assert_eq!(
        loaded.warnings,
        ["runtimes/node.yaml: unknown key 'installs' is ignored; is 'install' meant?"]
    );
    let unpacked = unpack(&archive).unwrap();
    assert_eq!(pack::recipe::find(unpacked.path(), "python").unwrap(), None);
    let recipe = pack::recipe::find(unpacked.path(), "node").unwrap().unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&recipe).unwrap());
}
