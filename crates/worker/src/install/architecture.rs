//! The processor that a program is for.

use std::{fmt, fs::File, io, os::unix::fs::FileExt};

use goblin::elf::header::{self, Header, machine_to_str};

/// Processor, word size and byte order of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    machine: u16,
    class: u8,
    byte_order: u8,
}

impl Architecture {
    /// What the file's header says; `None` when it is no ELF file.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; header::header64::SIZEOF_EHDR];
        match file.read_exact_at(&mut head, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(goblin::elf::Elf::parse_header(&head).ok().map(|header| Self::from(&header)))
    }
}

impl From<&Header> for Architecture {
    fn from(header: &Header) -> Self {
        Self {
            machine: header.e_machine,
            class: header.e_ident[header::EI_CLASS],
            byte_order: header.e_ident[header::EI_DATA],
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&machine_to_str(self.machine).to_lowercase())?;
        // what people expect of a processor goes without saying
        let narrow = self.class == header::ELFCLASS32;
        if narrow && matches!(self.machine, header::EM_X86_64 | header::EM_AARCH64) {
            f.write_str(" with 32 bits")?;
        }
        let big = self.byte_order == header::ELFDATA2MSB;
        if big && matches!(self.machine, header::EM_AARCH64 | header::EM_ARM) {
            f.write_str(" in big-endian order")?;
        }
        Ok(())
    }
}
