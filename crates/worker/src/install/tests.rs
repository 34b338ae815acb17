use std::{
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
};

use tempfile::TempDir;

use super::*;

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// A program for a processor: a header, and something to tell it from others.
fn program(machine: u16, content: &str) -> File {
    let mut bytes = vec![0u8; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes.extend(content.as_bytes());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

fn read(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn install_into(folder: &TempDir, source: &mut File) -> Result<Installed, InstallError> {
    install(source, folder.path(), Permitted::default())
}

#[test]
fn the_first_one_is_installed_and_the_second_leaves_it_alone() {
    let (folder, mut source) = (folder(), program(X86_64, "one"));
    let path = folder.path().join(PROGRAM);
    let first = install_into(&folder, &mut source).unwrap();
    assert_eq!((&first.before, &first.path, first.size), (&Before::Nothing, &path, 67));
    let shown =
        format!("installed {} (version {}, x86_64, 67 bytes)", path.display(), env!("CARGO_PKG_VERSION"));
    assert_eq!(first.to_string(), shown);
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o555);
    assert_eq!(fs::read(&path).unwrap(), read(&source));

    let second = install_into(&folder, &mut source).unwrap();
    assert_eq!(second.before, Before::Same);
    assert!(second.to_string().starts_with("already there: /"), "{second}");
    assert_eq!(path.metadata().unwrap().ino(), metadata.ino(), "the file itself stays");
    assert_eq!(names(&folder), [PROGRAM]);
}

#[test]
fn another_content_or_mode_is_replaced_by_a_new_file() {
    let (folder, mut source) = (folder(), program(X86_64, "new"));
    let path = folder.path().join(PROGRAM);
    install_into(&folder, &mut program(X86_64, "old")).unwrap();
    let running = File::open(&path).unwrap();
    let replaced = install_into(&folder, &mut source).unwrap();
    assert_eq!(replaced.before, Before::Other);
    assert!(replaced.to_string().starts_with("replaced /"), "{replaced}");
    assert_eq!(fs::read(&path).unwrap(), read(&source));
    assert!(read(&running).ends_with(b"old"), "who runs the old one keeps it");

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(install_into(&folder, &mut source).unwrap().before, Before::Other);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o555);

    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, "half a progr").unwrap();
    assert_eq!(install_into(&folder, &mut source).unwrap().before, Before::Other);
    assert_eq!(fs::read(&path).unwrap(), read(&source));
}

#[test]
fn a_link_is_replaced_and_what_it_leads_to_is_not() {
    let (folder, elsewhere) = (folder(), folder());
    let target = elsewhere.path().join("precious");
    fs::write(&target, "content").unwrap();
    symlink(&target, folder.path().join(PROGRAM)).unwrap();
    assert_eq!(install_into(&folder, &mut program(X86_64, "")).unwrap().before, Before::Other);
    assert_eq!(fs::read(&target).unwrap(), b"content");
    assert!(folder.path().join(PROGRAM).symlink_metadata().unwrap().is_file());
}

#[test]
fn a_program_of_another_processor_stays_unless_it_is_forced_out() {
    let folder = folder();
    install_into(&folder, &mut program(AARCH64, "")).unwrap();
    let mut source = program(X86_64, "");
    let refused = install_into(&folder, &mut source).unwrap_err().to_string();
    assert!(
        refused.contains("is for aarch64, and this program is for x86_64") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(names(&folder), [PROGRAM]);
    let forced =
        install(&mut source, folder.path(), Permitted { force: true, ..Permitted::default() }).unwrap();
    assert_eq!(forced.before, Before::Foreign("aarch64".to_owned()));
    assert!(forced.to_string().ends_with("; it was for aarch64)"), "{forced}");
    assert_eq!(fs::read(folder.path().join(PROGRAM)).unwrap(), read(&source));
}

#[test]
fn a_missing_directory_is_created_only_on_request() {
    let (folder, mut source) = (folder(), program(X86_64, ""));
    let deep = folder.path().join("opt/attune/agent");
    let refused = install(&mut source, &deep, Permitted::default()).unwrap_err();
    assert!(matches!(refused, InstallError::Missing(_)), "{refused}");
    assert!(refused.to_string().contains("mount the volume there"), "{refused}");
    assert!(names(&folder).is_empty());
    let create = Permitted { create: true, ..Permitted::default() };
    assert_eq!(install(&mut source, &deep, create).unwrap().before, Before::Nothing);
    assert_eq!(install(&mut source, &deep, create).unwrap().before, Before::Same);
}

#[test]
fn files_in_the_way_are_named() {
    let (folder, mut source) = (folder(), program(X86_64, ""));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for create in [false, true] {
        let permitted = Permitted { create, ..Permitted::default() };
        for path in [file.clone(), file.join("below")] {
            let refused = install(&mut source, &path, permitted).unwrap_err();
            assert!(matches!(refused, InstallError::NotADirectory(_)), "{refused:?}");
        }
    }
    fs::create_dir(folder.path().join(PROGRAM)).unwrap();
    let refused = install_into(&folder, &mut source).unwrap_err();
    assert!(matches!(refused, InstallError::ProgramIsDirectory(_)), "{refused}");
}

#[test]
fn many_at_once_leave_one_whole_program() {
    let folder = folder();
    let contents: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let installers: Vec<_> = (0..32)
            .map(|number| {
                let directory = folder.path();
                scope.spawn(move || {
                    // two versions, large enough that one half written could be seen
                    let mut source = program(X86_64, &(number % 2).to_string().repeat(1 << 20));
                    install(&mut source, directory, Permitted::default()).unwrap();
                    fs::read(directory.join(PROGRAM)).unwrap()
                })
            })
            .collect();
        installers.into_iter().map(|installer| installer.join().unwrap()).collect()
    });
    for content in contents {
        assert_eq!(content.len(), 64 + (1 << 20));
        assert!(content[65..].iter().all(|byte| *byte == content[64]), "two programs in one");
    }
    assert_eq!(names(&folder), [PROGRAM]);
}

#[test]
fn what_a_killed_installer_left_is_removed_once_it_is_old() {
    let folder = folder();
    let (old, new) = (folder.path().join(".attune-agent-old"), folder.path().join(".attune-agent-new"));
    let other = folder.path().join("other");
    for path in [&old, &new, &other] {
        fs::write(path, "").unwrap();
    }
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    for path in [&old, &other] {
        File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }
    install_into(&folder, &mut program(X86_64, "")).unwrap();
    assert_eq!(names(&folder), [".attune-agent-new", PROGRAM, "other"]);
}

#[test]
fn no_failure_leaves_anything_behind() {
    let folder = folder();
    // a source that cannot be read: a directory
    let mut source = File::open(folder.path()).unwrap();
    assert!(matches!(install_into(&folder, &mut source), Err(InstallError::OwnProgram(_))));
    assert!(names(&folder).is_empty());
}

#[test]
fn the_running_program_can_be_read() {
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(read(&this_program().unwrap()), own);
}
