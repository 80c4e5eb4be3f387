//! Connections that stand, by whose certificate the other side has: when somebody is denied, theirs are closed at once.
//!
//! A connection costs an entry of a few words here and one lock when it begins and when it ends; nothing on the way. It
//! is closed at its socket, so that whatever serves it finds its end as if the peer had gone.

use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use api::weft::v1::denied::Who;
use api::{DenyList, X509Svid};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use slab::Slab;
use tokio::net::TcpStream;

/// Whether this process follows a deny list at all.
static FOLLOWS: AtomicBool = AtomicBool::new(false);
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

#[derive(Default)]
struct Table {
    entries: Slab<Entry>,
    /// What is in force.
    denied: Arc<DenyList>,
}

/// The peer of a connection; what tells who it is is kept as hashes.
struct Entry {
    socket: RawFd,
    serial: u64,
    identity: u64,
    agent: u64,
}

/// Keeps the entry of a connection. It must be dropped before the socket is.
#[derive(Debug)]
pub struct Live(usize);

/// From now on connections are entered.
pub fn follow() {
    FOLLOWS.store(true, Ordering::Relaxed);
}

/// Enters a connection whose handshake succeeded. One whose peer was denied meanwhile is closed.
pub fn enter(tcp: &TcpStream, peer: Option<&[CertificateDer<'_>]>) -> Option<Live> {
    if !FOLLOWS.load(Ordering::Relaxed) {
        return None;
    }
    let svid = X509Svid::parse(peer?.first()?).ok()?;
    let entry = Entry {
        socket: tcp.as_raw_fd(),
        serial: HASHER.hash_one(&svid.serial),
        identity: HASHER.hash_one(svid.id.to_string()),
        agent: svid.common_name.as_ref().map_or(0, |agent| HASHER.hash_one(agent)),
    };
    let mut table = TABLE.lock();
    if table.denied.denies(&svid).is_some() {
        entry.close();
    }
    Some(Live(table.entries.insert(entry)))
}

/// Puts a list in force, and closes the connections of all who are on it; returns how many.
pub fn enforce(denied: &Arc<DenyList>) -> usize {
    let hashes = Hashes::of(denied);
    let mut table = TABLE.lock();
    table.denied = Arc::clone(denied);
    if denied.is_empty() {
        return 0;
    }
    let closed = table.entries.iter().filter(|(_, entry)| hashes.have(entry)).map(|(_, entry)| entry.close());
    closed.count()
}

impl Entry {
    fn close(&self) {
        // The socket is open as long as its entry is here. That the peer was faster is no failure.
        let _ = nix::sys::socket::shutdown(self.socket, nix::sys::socket::Shutdown::Both);
    }
}

#[derive(Default)]
struct Hashes {
    serials: Vec<u64>,
    identities: Vec<u64>,
    agents: Vec<u64>,
}

impl Hashes {
    fn of(denied: &DenyList) -> Self {
        let mut hashes = Self::default();
        for who in denied.to_wire().into_iter().filter_map(|denied| denied.who) {
            match who {
                Who::Serial(serial) => hashes.serials.push(HASHER.hash_one(serial)),
                Who::Identity(id) => hashes.identities.push(HASHER.hash_one(id)),
                Who::Agent(agent) => hashes.agents.push(HASHER.hash_one(agent)),
            }
        }
        for list in [&mut hashes.serials, &mut hashes.identities, &mut hashes.agents] {
            list.sort_unstable();
        }
        hashes
    }

    fn have(&self, entry: &Entry) -> bool {
        self.serials.binary_search(&entry.serial).is_ok()
            || self.identities.binary_search(&entry.identity).is_ok()
            || self.agents.binary_search(&entry.agent).is_ok()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        TABLE.lock().entries.try_remove(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::identity::test_kit::{Ca, RATINGS, REVIEWS, shape};

    /// A connection whose other side has a certificate for this identity, and that side.
    async fn connection(ca: &Ca, id: &str) -> (Option<Live>, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let svid = ca.svid(&shape(id, SystemTime::now(), Duration::from_secs(60))).unwrap();
        (enter(&near, Some(svid.chain())), near, far)
    }

    fn list(id: &str) -> Arc<DenyList> {
        let mut list = DenyList::default();
        list.add(Who::Identity(id.into()), "");
        Arc::new(list)
    }

    #[tokio::test]
    async fn connections_of_whoever_is_denied_are_closed_and_no_others() {
        let ca = Ca::new("root");
        assert!(connection(&ca, REVIEWS).await.0.is_none(), "nothing is kept where no list is followed");
        follow();
        let (_one, _near, mut denied) = connection(&ca, REVIEWS).await;
        let (other, _near, stays) = connection(&ca, RATINGS).await;
        assert_eq!(enforce(&list(REVIEWS)), 1);
        assert_eq!(denied.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(stays.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        // A handshake that was under way when the list changed.
        let (_late, _near, mut late) = connection(&ca, REVIEWS).await;
        assert_eq!(late.read(&mut [0]).await.unwrap(), 0);
        drop(other);
        assert_eq!(enforce(&list(RATINGS)), 0, "whoever is gone is not looked for");
        assert_eq!(stays.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
