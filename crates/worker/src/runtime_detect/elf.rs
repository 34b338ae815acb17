//! What an ELF header says about a binary that the system refused to start.

use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use goblin::container::{Container, Ctx};
use goblin::elf::Elf;
use goblin::elf::header::{EI_CLASS, ELFCLASS64, Header, machine_to_str};
use goblin::elf::program_header::{PT_INTERP, ProgramHeader};

/// The longest loader path that is believed, as the kernel's `PATH_MAX`.
const LONGEST_LOADER: u64 = 4096;

/// The dynamic loader that the binary asks for (its `PT_INTERP` segment). `head` is its beginning, `file` all of it.
pub(super) fn loader(head: &[u8], file: &File) -> Option<PathBuf> {
    let (header, context) = header(head)?;
    let table = usize::from(header.e_phnum) * usize::from(header.e_phentsize);
    let mut bytes = vec![0; table];
    file.read_exact_at(&mut bytes, header.e_phoff).ok()?;
    let segments = ProgramHeader::parse(&bytes, 0, usize::from(header.e_phnum), context).ok()?;
    let segment = segments.iter().find(|segment| segment.p_type == PT_INTERP)?;
    if segment.p_filesz > LONGEST_LOADER {
        return None;
    }
    let mut name = vec![0; usize::try_from(segment.p_filesz).ok()?];
    file.read_exact_at(&mut name, segment.p_offset).ok()?;
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(name)))
}

/// The C library that a dynamic loader belongs to: musl's is called `ld-musl-ARCH.so.1`, those of glibc have many names
/// (<https://sourceware.org/glibc/wiki/ABIList>).
pub(super) fn libc_of(loader: &Path) -> Option<&'static str> {
    let name = loader.file_name()?.to_str()?;
    let of_glibc = ["ld-linux", "ld64.so", "ld.so"].iter().any(|start| name.starts_with(start));
    if name.starts_with("ld-musl-") { Some("musl") } else { of_glibc.then_some("glibc") }
}

/// The processor that the binary is for, and this machine's, when they differ.
pub(super) fn foreign(head: &[u8]) -> Option<(String, String)> {
    let (header, context) = header(head)?;
    let found =
        describe(header.e_machine, header.e_ident[EI_CLASS] == ELFCLASS64, context.is_little_endian());
    let host = std::env::consts::ARCH;
    (found != host).then(|| (found, host.to_owned()))
}

fn header(head: &[u8]) -> Option<(Header, Ctx)> {
    let header = Elf::parse_header(head).ok()?;
    let container = if header.e_ident[EI_CLASS] == ELFCLASS64 { Container::Big } else { Container::Little };
    let context = Ctx::new(container, header.endianness().ok()?);
    Some((header, context))
}

/// The processor in the words of [`std::env::consts::ARCH`] where that has one, else in those of the ELF standard.
fn describe(machine: u16, wide: bool, little_endian: bool) -> String {
    use goblin::elf::header as em;
    match (machine, wide, little_endian) {
        (em::EM_X86_64, true, _) => "x86_64",
        (em::EM_X86_64, false, _) => "x32",
        (em::EM_386, ..) => "x86",
        (em::EM_AARCH64, _, true) => "aarch64",
        (em::EM_ARM, ..) => "arm",
        (em::EM_RISCV, true, _) => "riscv64",
        (em::EM_RISCV, false, _) => "riscv32",
        (em::EM_PPC64, _, true) => "powerpc64le",
        (em::EM_PPC64, _, false) => "powerpc64",
        (em::EM_S390, true, _) => "s390x",
        (em::EM_LOONGARCH, true, _) => "loongarch64",
        _ => return machine_to_str(machine).to_lowercase(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first 64 bytes of a 64-bit little-endian executable for `machine`.
    fn minimal(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16] = 2;
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[20] = 1;
        bytes[52] = 64;
        bytes
    }

    #[test]
    fn foreign_processors_are_named() {
        let (here, other) = match std::env::consts::ARCH {
            "aarch64" => (183, (62, "x86_64")),
            _ => (62, (183, "aarch64")),
        };
        assert_eq!(foreign(&minimal(here)), None);
        assert_eq!(foreign(&minimal(other.0)).unwrap().0, other.1);
        assert_eq!(foreign(&minimal(243)).unwrap().0, "riscv64");
        assert_eq!(foreign(b"#!/bin/sh"), None);
    }

    #[test]
    fn loaders_tell_their_c_library() {
        for (loader, expected) in [
            ("/lib/ld-musl-x86_64.so.1", Some("musl")),
            ("/lib64/ld-linux-x86-64.so.2", Some("glibc")),
            ("/nix/store/x-glibc-2.39/lib/ld-linux-aarch64.so.1", Some("glibc")),
            ("/lib/ld64.so.2", Some("glibc")),
            ("/system/bin/linker64", None),
        ] {
            assert_eq!(libc_of(Path::new(loader)), expected, "{loader}");
        }
    }

    #[test]
    fn this_test_s_own_loader_is_read() {
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        let mut head = vec![0; 4096];
        file.read_exact_at(&mut head, 0).unwrap();
        // a static test binary has none
        if let Some(loader) = loader(&head, &file) {
            assert!(loader.is_absolute() && loader.exists(), "{}", loader.display());
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..300), real in any::<bool>()) {
            if real {
                let mut bytes = minimal(62);
                // offsets, sizes and counts become noise, the identification stays
                for (place, byte) in bytes[24..].iter_mut().zip(&noise) {
                    *place = *byte;
                }
                noise = bytes;
            }
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&noise, 0).unwrap();
            let _ = foreign(&noise);
            let _ = loader(&noise, &file);
        }
    }
}
