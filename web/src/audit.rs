//! The audit log: who did or was refused what, in a file that is only appended to. Each line holds the hash of the line
//! before it and its own, so that no line can be changed, taken out or put in unnoticed.
//!
//! What must hold: no secret is in it; a change is answered only once its line is on disk; while the log cannot be
//! written, nothing is changed.

mod chain;
mod files;
pub mod page;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use chain::Broken;

/// One line, without its number and hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Unix milliseconds; 0: now.
    pub at: u64,
    /// The name of the token, and its ID.
    pub actor: String,
    /// `token`, `session`, `setup`, `certificate` or `none`.
    pub method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// As roles have them, or what the mesh did: `join`, `issue-certificate`, `issue-jwt-svid`.
    pub verb: String,
    /// `VirtualService default/reviews`, or the path.
    pub object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_after: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How many alike this line stands for; none is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// `done`, or the status of the refusal.
    pub result: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What a change made of the objects, as a unified diff: the beginning of a long one, and no secrets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

/// A line as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub seq: u64,
    #[serde(flatten)]
    pub record: Record,
    /// The hash of the line before; 64 zeros for the first.
    pub previous: String,
    /// SHA-256 of the line without this field.
    pub hash: String,
}

/// Cloning shares.
#[derive(Clone)]
pub struct Audit {
    path: Arc<Path>,
    tail: Arc<Mutex<Tail>>,
}

struct Tail {
    file: File,
    /// How long it is, and the number of its first line.
    length: u64,
    first: u64,
    seq: u64,
    hash: String,
    /// Why the last line could not be written.
    failure: Option<String>,
}

/// What `_verify` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    pub ok: bool,
    pub entries: u64,
    /// The hash of the last line: who notes it elsewhere can tell whether lines were cut off.
    pub head: String,
    /// The first line that does not fit, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Lines before this one; 0: from the end.
    pub before: u64,
    pub limit: usize,
    pub actor: Option<String>,
    pub verb: Option<String>,
    pub object: Option<String>,
    pub result: Option<String>,
    pub dry_run: Option<bool>,
}

impl Audit {
    /// Opens the log, or begins one. A last line that a crash cut short was never answered for, and is taken off.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = files::append_to(&path)?;
        let (before, last) = files::end_of_those_set_aside(&path)?;
        let (seq, hash, whole) = chain::end_of(BufReader::new(&file), before, last)?;
        let length = file.metadata()?.len();
        if whole < length {
            tracing::warn!(path = %path.display(), "the audit log ended within a line, which is taken off");
            file.set_len(whole)?;
        }
        file.seek(SeekFrom::End(0))?;
        let tail = Tail { file, length: whole, first: before + 1, seq, hash, failure: None };
        Ok(Self { path: path.into(), tail: Arc::new(Mutex::new(tail)) })
    }

    /// Why nothing can be written down; then nothing may be changed.
    pub fn failure(&self) -> Option<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    /// Writes a line to disk. When it returns the line is there, or the failure is known.
    pub async fn write(&self, record: Record) {
        self.write_all(vec![record]).await;
    }

    /// Writes lines to disk together, in their order.
    pub async fn write_all(&self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let (tail, path) = (self.tail.clone(), self.path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.append(records);
            tail.set_aside(&path, LONGEST_FILE);
        });
        // It ends early only with the process.
        let _ = written.await;
    }

    /// The lines that are wanted, newest first.
    pub async fn lines(&self, wanted: Wanted) -> io::Result<Vec<Line>> {
        self.read(move |reader| chain::last_lines(reader, &wanted)).await
    }

    /// Reads everything and holds each line against the one before.
    pub async fn verify(&self) -> io::Result<Verified> {
        let (seq, head) = {
            let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            (tail.seq, tail.hash.clone())
        };
        self.read(move |reader| chain::verify(reader, seq, &head)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(files::All) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (tail, path) = (self.tail.clone(), self.path.clone());
        let done = tokio::task::spawn_blocking(move || {
            // No file is set aside while they are opened.
            let all = {
                let _tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                files::all(&path)?
            };
            read(all)
        });
        done.await.map_err(io::Error::other)?
    }
}

impl Tail {
    fn append(&mut self, records: Vec<Record>) {
        let (mut text, mut seq, mut hash) = (String::new(), self.seq, self.hash.clone());
        for mut record in records {
            if record.at == 0 {
                record.at = now_ms();
            }
            let line;
            (line, hash) = chain::line(seq + 1, &record, &hash);
            text += &line;
            seq += 1;
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += text.len() as u64;
                (self.seq, self.hash, self.failure) = (seq, hash, None);
            }
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be written: nothing can be changed until it can");
                self.failure = Some(error.to_string());
            }
        }
    }
}

impl Tail {
    /// Begins a new file once this one is long. It goes on with the chain; one that cannot be begun is begun later.
    fn set_aside(&mut self, path: &Path, longest: u64) {
        if self.length < longest {
            return;
        }
        let begun = files::set_aside(path, self.first).and_then(|()| files::append_to(path));
        match begun {
            Ok(file) => (self.file, self.length, self.first) = (file, 0, self.seq + 1),
            Err(error) => tracing::warn!(%error, "the audit log is long, and cannot go on in a new file"),
        }
    }
}

/// A file that is longer is set aside, under its name and the number of its first line.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Lines of a log, as far as they are UTF-8.
fn lines(reader: impl BufRead) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    reader.split(b'\n')
}

#[cfg(test)]
mod tests;
