//! How many files and sockets this process may have open. Where it is not said, that is 1024, for programs that use
//! `select`; ours do not, so the soft limit is raised to the hard one. Programs that we start have the old one.

use std::io;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// What a process may have if the system does not say.
const USUAL: usize = 1024;

/// What was found: soft and hard.
static FOUND: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the limit, and returns it.
pub fn raise() -> usize {
    match FOUND.get().copied().map_or_else(|| getrlimit(Resource::RLIMIT_NOFILE), Ok) {
        Ok((soft, hard)) => {
            let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                Ok(()) => hard,
                Err(_) => soft,
            };
            tracing::debug!(soft, hard, limit, "the limit of open files and sockets");
            let _ = FOUND.set((soft, hard));
            usize::try_from(limit).unwrap_or(usize::MAX)
        }
        Err(error) => {
            tracing::debug!(%error, "the limit of open files and sockets is unknown");
            USUAL
        }
    }
}

/// What a program that is started should put back.
pub fn found() -> Option<(rlim_t, rlim_t)> {
    FOUND.get().copied()
}

/// Puts it back. To be called between fork and exec: it is one system call.
pub fn put_back((soft, hard): (rlim_t, rlim_t)) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}
