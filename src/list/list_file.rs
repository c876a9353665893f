//! The lists that filters write beside the stream, for `--reject`, `--missing` and similar options.

use crate::list::error::Stop;
use crate::list::stream::SideFile;
use crate::release::Dialect;
use std::io::Write;

/// A list that is written beside the stream. Its entries keep their bytes, so that they can be corrected and fed again.
pub struct SideList {
    file: SideFile,
    /// True after an entry of JSON was written.
    object: bool,
}

impl SideList {
    /// Writes to `file`.
    pub fn new(file: SideFile) -> SideList {
        SideList { file, object: false }
    }

    /// Adds an entry, or a part of a line without its newline.
    pub fn write(&mut self, entry: &[u8], dialect: Option<Dialect>) -> Result<(), Stop> {
        let (before, after) = match (dialect, self.object) {
            (Some(Dialect::Json), false) => ("{\n", ""),
            (Some(Dialect::Json), true) => (",\n", ""),
            _ => ("", "\n"),
        };
        self.object |= dialect == Some(Dialect::Json);
        self.raw(&[before.as_bytes(), entry, after.as_bytes()].concat())
    }

    /// Adds bytes without change.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.file.write_all(bytes).map_err(SideFile::failed)
    }

    /// Ends the list. A list without entries stays an empty file, so that a script can test it with `-s`.
    pub fn finish(&mut self) -> Result<(), Stop> {
        match std::mem::take(&mut self.object) {
            true => self.raw(b"\n}\n"),
            false => Ok(()),
        }
    }
}
