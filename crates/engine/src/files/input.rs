//! Opening files: what is wrong with a path, compression, and how far reading has come.

use super::options::Compression;
use evenkeel_model::{Error, Result, SqlState, did_you_mean};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes of a file have been read, out of how many.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed {
    bytes: Arc<AtomicU64>,
    size: u64,
}

impl Consumed {
    pub(super) fn get(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed).min(self.size), self.size)
    }

    pub(super) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// A file that counts what is read of it.
pub(super) struct Counted {
    file: File,
    consumed: Consumed,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.consumed.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// The name by which errors speak of a file.
pub(super) fn short_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Opens a file for reading.
///
/// # Errors
/// 58P01 when it is not there, 58030 when it cannot be read.
pub(super) fn open_file(path: &Path) -> Result<(File, Consumed)> {
    let failed = |error: std::io::Error| open_error(path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Error::new(SqlState::IoError, format!("\"{}\" is a directory, not a file", path.display())));
    }
    Ok((file, Consumed { bytes: Arc::default(), size: metadata.len() }))
}

/// Opens a file whose reading is counted.
pub(super) fn open_counted(path: &Path) -> Result<(Counted, Consumed)> {
    let (file, consumed) = open_file(path)?;
    Ok((Counted { file, consumed: consumed.clone() }, consumed))
}

/// Opens a text file, unpacking it on the way.
pub(super) fn open_text(path: &Path, compression: Compression) -> Result<(Box<dyn Read + Send>, Consumed)> {
    let (file, consumed) = open_counted(path)?;
    let input: Box<dyn Read + Send> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(128 << 10, file))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(file);
            Box::new(decoder.map_err(|error| read_error(&short_name(path), &error))?)
        }
    };
    Ok((input, consumed))
}

fn open_error(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return Error::new(SqlState::IoError, format!("cannot open \"{}\": {error}", path.display()));
    }
    let missing = Error::new(SqlState::UndefinedFile, format!("there is no file \"{}\"", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return missing.with_hint(format!("there is no directory \"{}\" either", folder.display()));
    };
    let names: Vec<String> =
        entries.take(1000).flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    match did_you_mean(&short_name(path), names.iter().map(String::as_str)) {
        Some(near) => missing.with_hint(format!("did you mean \"{}\"?", path.with_file_name(near).display())),
        None if path.is_absolute() => missing,
        None => match std::env::current_dir() {
            Ok(current) => missing.with_hint(format!("paths that are not absolute begin in {}", current.display())),
            Err(_) => missing,
        },
    }
}

/// What happened while a file was read.
pub(super) fn read_error(file: &str, error: &std::io::Error) -> Error {
    let read = Error::new(SqlState::IoError, format!("cannot read \"{file}\": {error}"));
    match error.kind() {
        ErrorKind::UnexpectedEof => read.with_hint("the file seems to be cut off"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
            read.with_hint("is it compressed as its name says?")
        }
        _ => read,
    }
}
