//! The files of a log: the one that is written to, and those that were set aside when they were long. All of them are
//! the log; they stay in one folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::chain;

/// The whole log, from its beginning.
pub type All = BufReader<Box<dyn Read + Send>>;

pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

/// Renames a log: its name, and the number of its first line.
pub fn set_aside(path: &Path, first: u64) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first:012}"));
    fs::rename(path, name)
}

/// What was set aside, the oldest first, with the number of each one's first line.
fn those_set_aside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_prefix(&own)).and_then(|first| first.parse().ok());
        found.extend(first.map(|first| (first, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Number and hash of the last line that was set aside.
pub fn end_of_those_set_aside(path: &Path) -> io::Result<(u64, String)> {
    match those_set_aside(path)?.pop() {
        None => Ok((0, chain::NOTHING.to_owned())),
        Some((first, last)) => {
            let file = BufReader::new(File::open(last)?);
            let (seq, hash, _) = chain::end_of(file, first.saturating_sub(1), chain::NOTHING.to_owned())?;
            Ok((seq, hash))
        }
    }
}

pub fn all(path: &Path) -> io::Result<All> {
    let mut all: Box<dyn Read + Send> = Box::new(io::empty());
    for (_, part) in those_set_aside(path)? {
        all = Box::new(all.chain(File::open(part)?));
    }
    Ok(BufReader::new(Box::new(all.chain(File::open(path)?))))
}
