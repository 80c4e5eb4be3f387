//! The socket in the file system. Everybody may connect: who gets what is decided for each connection. Nobody else may
//! put another socket in its place.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::Caller;
use super::stream::Connection;

/// A user's connections.
const MOST: usize = 128;
/// After the system refused to accept one.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path} is served by another agent; give this one another --workload-socket")]
    Taken { path: PathBuf },
    #[error("{path} is there and is no socket; move it away, or give another --workload-socket")]
    NoSocket { path: PathBuf },
    #[error(
        "anybody may put another socket in the place of {path}, since {directory} is open to all; give a \
         --workload-socket in a directory that only its owner writes to"
    )]
    Open { path: PathBuf, directory: PathBuf },
    #[error("the socket {path} cannot be made: {cause}; give another --workload-socket")]
    File { path: PathBuf, cause: io::Error },
}

/// A bound socket, which is taken away when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: OwnFile,
}

#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for OwnFile {
    /// Another agent may have put its own there.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |cause| SocketError::File { path: path.to_owned(), cause };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
        }
        let mode = fs::metadata(directory).map_err(failed)?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(SocketError::Open { path: path.to_owned(), directory: directory.to_owned() });
        }
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        let file = OwnFile { path: path.to_owned(), inode };
        fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
        tracing::info!(socket = %path.display(), "the workload API is served");
        Ok(Self { listener, file })
    }

    /// Connections, with who is at their other end.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<Connection>> {
        let (connections, incoming) = mpsc::channel(1);
        tokio::spawn(self.accept(connections));
        ReceiverStream::new(incoming)
    }

    async fn accept(self, connections: mpsc::Sender<io::Result<Connection>>) {
        let Self { listener, file: _file } = self;
        let users = Users::default();
        loop {
            let accepted = tokio::select! {
                () = connections.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the workload API cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(caller) = Caller::of(&stream) else { continue };
            match users.enter(caller.uid) {
                // If nobody takes it any more, the connection is closed by dropping it.
                Some(place) => drop(connections.send(Ok(Connection::new(stream, caller, place))).await),
                None => tracing::warn!(%caller, most = MOST, "a user has too many connections to the workload API"),
            }
        }
    }
}

/// A socket that nobody serves any more is removed.
fn clear(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    if Probe::connect(path).is_ok() {
        return Err(SocketError::Taken { path: path.to_owned() });
    }
    fs::remove_file(path).map_err(|cause| SocketError::File { path: path.to_owned(), cause })
}

/// How many connections each user has.
#[derive(Clone, Debug, Default)]
struct Users(Arc<Mutex<BTreeMap<u32, usize>>>);

/// A connection among its user's.
#[derive(Debug)]
pub struct Place {
    users: Users,
    uid: u32,
}

impl Users {
    fn enter(&self, uid: u32) -> Option<Place> {
        let mut users = self.0.lock();
        let count = users.entry(uid).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { users: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.users.0.lock();
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_open_to_all_and_gone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/weft/workload.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken { .. })));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_an_agent_left_behind_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path).unwrap();
        // Another agent took the place: it keeps it.
        fs::remove_file(&path).unwrap();
        let other = Socket::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(other);
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NoSocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_place_where_anybody_could_put_another_socket_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Socket::bind(&folder.path().join("a.sock")), Err(SocketError::Open { .. })));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(Socket::bind(&folder.path().join("a.sock")).is_ok());
    }

    #[test]
    fn one_user_cannot_take_every_place() {
        let users = Users::default();
        let places: Vec<Place> = (0..MOST).map_while(|_| users.enter(1)).collect();
        assert!(places.len() == MOST && users.enter(1).is_none() && users.enter(2).is_some());
        drop(places);
        assert!(users.enter(1).is_some());
    }
}
