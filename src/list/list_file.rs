//! The lists beside the stream: what `--reject`, `--missing` and their like keep.

use crate::list::error::Stop;
use crate::list::stream::SideFile;
use crate::release::Dialect;
use std::io::Write;

/// A list that is written beside the stream, entry by entry as they came, to be mended and fed again.
pub struct SideList {
    file: SideFile,
    /// Whether an entry of JSON was written.
    object: bool,
}

impl SideList {
    /// Into `file`.
    pub fn new(file: SideFile) -> SideList {
        SideList { file, object: false }
    }

    /// Adds an entry, or a part of a line without its newline.
    pub fn write(&mut self, entry: &[u8], dialect: Option<Dialect>) -> Result<(), Stop> {
        let (before, behind) = match (dialect, self.object) {
            (Some(Dialect::Json), false) => ("{\n", ""),
            (Some(Dialect::Json), true) => (",\n", ""),
            _ => ("", "\n"),
        };
        self.object |= dialect == Some(Dialect::Json);
        self.raw(&[before.as_bytes(), entry, behind.as_bytes()].concat())
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.file.write_all(bytes).map_err(SideFile::failed)
    }

    /// Ends the list. One without entries stays an empty file, so that a script can ask with `-s`.
    pub fn finish(&mut self) -> Result<(), Stop> {
        match std::mem::take(&mut self.object) {
            true => self.raw(b"\n}\n"),
            false => Ok(()),
        }
    }
}
