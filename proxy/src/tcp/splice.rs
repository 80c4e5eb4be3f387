//! Bytes that go from one socket to another without being copied through this process (splice(2)): through a pipe that
//! is held only while there is something to move.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{OFlag, SpliceFFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe takes at a time; it is asked for, and less will do.
const ROOM: usize = 256 * 1024;
/// More idle pipes than this are closed, per thread.
const KEPT: usize = 16;

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe: its read end and its write end.
struct Pipe(OwnedFd, OwnedFd);

/// One direction between two sockets.
pub struct Splice {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
}

impl Splice {
    pub fn new() -> io::Result<Self> {
        Ok(Self { pipe: Some(Pipe::get()?), held: 0 })
    }

    /// Whether it holds neither bytes nor a pipe.
    #[cfg(test)]
    pub fn is_at_rest(&self) -> bool {
        self.pipe.is_none() && self.held == 0
    }

    /// Moves bytes until the source ends.
    pub fn poll(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        cx: &mut Context<'_>,
        moved: &mut dyn FnMut(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            if self.held == 0 && self.fill(from, cx)? == Poll::Pending {
                if let Some(pipe) = self.pipe.take() {
                    pipe.keep();
                }
                return Poll::Pending;
            }
            if self.held == 0 {
                return Poll::Ready(Ok(()));
            }
            let n = ready!(self.drain(to, cx))?;
            self.held -= n;
            moved(n);
        }
    }

    /// Takes what the source has; nothing once it has ended.
    fn fill(&mut self, from: &TcpStream, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        loop {
            if from.poll_read_ready(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            let pipe = match self.pipe.take() {
                Some(pipe) => pipe,
                None => Pipe::get()?,
            };
            let Pipe(_, input) = self.pipe.insert(pipe);
            match from.try_io(Interest::READABLE, || run(from, input, ROOM)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => {
                    self.held = filled?;
                    return Ok(Poll::Ready(()));
                }
            }
        }
    }

    fn drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(Pipe(output, _)) = &self.pipe else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || run(output, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                drained => return Poll::Ready(drained),
            }
        }
    }
}

fn run(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, most, flags)?)
}

impl Pipe {
    fn get() -> io::Result<Self> {
        if let Some(pipe) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (output, input) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let room = i32::try_from(ROOM).unwrap_or(i32::MAX);
        let _ = nix::fcntl::fcntl(&input, nix::fcntl::FcntlArg::F_SETPIPE_SZ(room));
        Ok(Self(output, input))
    }

    fn keep(self) {
        PIPES.with_borrow_mut(|pipes| {
            if pipes.len() < KEPT {
                pipes.push(self);
            }
        });
    }
}
