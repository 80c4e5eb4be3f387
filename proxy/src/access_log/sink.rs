//! Where log lines go: one writer thread per process behind a bounded queue. A full queue drops lines and counts them;
//! the data path never waits for a disk or a pipe.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a line is written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Stdout,
    Stderr,
    File(Arc<str>),
}

impl Target {
    /// `/dev/stdout` and `/dev/stderr` mean this process's own, open or not by that name.
    pub fn of_path(path: &str) -> Self {
        match path {
            "/dev/stdout" => Self::Stdout,
            "/dev/stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }
}

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub struct LogSink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Target, Vec<u8>),
    Flush(SyncSender<()>),
    Reopen,
}

const QUEUED_LINES: usize = 16_384;
const FLUSH_AFTER: Duration = Duration::from_millis(200);

impl LogSink {
    /// Starts the writer thread. It ends, with everything written, when the last sink is dropped.
    pub fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, lines) = mpsc::sync_channel(QUEUED_LINES);
        let writer =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || Writer::default().run(&lines))?;
        Ok((Self { queue, dropped: Arc::default() }, writer))
    }

    /// Queues a line, or drops it if the writer is behind.
    pub fn send(&self, target: &Target, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(target.clone(), line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Closes the files, so that each is opened anew for its next line: a log that was moved away begins afresh. Not
    /// for the data path.
    pub fn reopen(&self) {
        let _ = self.queue.send(Message::Reopen);
    }

    /// Waits until every line queued so far is written. Not for the data path.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

#[derive(Default)]
struct Writer {
    open: HashMap<Target, Option<BufWriter<Box<dyn Write + Send>>>>,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Message>) {
        // When the oldest line that is not written out yet has to be, however many follow it.
        let mut due: Option<Instant> = None;
        loop {
            let received = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(left) => lines.recv_timeout(left),
                None => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(Message::Line(target, line)) => {
                    self.write(target, &line);
                    due.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
                }
                Ok(Message::Flush(done)) => {
                    self.flush();
                    due = None;
                    let _ = done.send(());
                }
                Ok(Message::Reopen) => {
                    self.flush();
                    self.open.clear();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    due = None;
                }
                Err(RecvTimeoutError::Disconnected) => break self.flush(),
            }
        }
    }

    fn write(&mut self, target: Target, line: &[u8]) {
        let file = self.open.entry(target).or_insert_with_key(open);
        if let Some(file) = file {
            let _ = file.write_all(line);
        }
    }

    fn flush(&mut self) {
        for file in self.open.values_mut().flatten() {
            let _ = file.flush();
        }
    }
}

/// A file that cannot be opened is reported once; its lines are lost.
fn open(target: &Target) -> Option<BufWriter<Box<dyn Write + Send>>> {
    let raw: Box<dyn Write + Send> = match target {
        Target::Stdout => Box::new(io::stdout()),
        Target::Stderr => Box::new(io::stderr()),
        Target::File(path) => match append(path) {
            Ok(file) => Box::new(file),
            Err(error) => {
                tracing::warn!(%path, %error, "access log cannot be opened; its lines are lost");
                return None;
            }
        },
    };
    Some(BufWriter::with_capacity(64 * 1024, raw))
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_out_while_others_follow_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let target = Target::of_path(path.to_str().unwrap());
        let (sink, _writer) = LogSink::start().unwrap();
        let start = Instant::now();
        // More often than it is flushed, and much less than fills the buffer.
        while std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing is written while lines come");
            sink.send(&target, b"line\n".to_vec());
            std::thread::park_timeout(FLUSH_AFTER / 4);
        }
    }
}
