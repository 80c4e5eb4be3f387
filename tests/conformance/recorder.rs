//! An upstream that keeps every byte it receives, and answers each request that has come whole.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::oracle;

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Far longer than anything here takes; whoever waits so long has found a hang.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Recorder {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: Vec<Connection>,
    /// The answer to the next request, and whether the connection ends with it; [`OK`] afterwards.
    script: Option<(Vec<u8>, bool)>,
}

struct Connection {
    peer: SocketAddr,
    bytes: Vec<u8>,
    /// `None` once it has ended.
    stream: Option<TcpStream>,
}

impl Recorder {
    pub fn start(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let shared = Arc::clone(&kept);
                let index = shared.accepted(&stream, peer);
                std::thread::spawn(move || shared.serve(index, stream));
            }
        });
        Self { address, shared }
    }

    /// Answers the next request with these bytes.
    pub fn script(&self, answer: Vec<u8>, close: bool) {
        self.shared.lock().script = Some((answer, close));
    }

    /// What came on each connection, once all of them have ended by the proxy's doing.
    pub fn take(&self) -> Vec<Vec<u8>> {
        // Connections are accepted in their order: once this one is, those before it are.
        let marker = TcpStream::connect(self.address).unwrap();
        let peer = marker.local_addr().unwrap();
        let state = self.shared.wait(|state| state.connections.iter().any(|one| one.peer == peer));
        drop(state);
        drop(marker);
        let mut state = self.shared.wait(|state| state.connections.iter().all(|one| one.stream.is_none()));
        let all = std::mem::take(&mut state.connections);
        all.into_iter().filter(|one| one.peer != peer).map(|one| one.bytes).collect()
    }

    /// Ends the connections that are still open.
    pub fn end(&self) {
        for connection in &self.shared.lock().connections {
            if let Some(stream) = &connection.stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let (state, waited) = self.changed.wait_timeout_while(self.lock(), PATIENCE, |state| !until(state)).unwrap();
        assert!(!waited.timed_out(), "the proxy keeps a connection to the upstream open");
        state
    }

    fn accepted(&self, stream: &TcpStream, peer: SocketAddr) -> usize {
        let mut state = self.lock();
        state.connections.push(Connection { peer, bytes: Vec::new(), stream: Some(stream.try_clone().unwrap()) });
        self.changed.notify_all();
        state.connections.len() - 1
    }

    fn serve(&self, index: usize, mut stream: TcpStream) {
        let mut answered = 0;
        let mut piece = [0; 65536];
        while let Ok(n) = stream.read(&mut piece)
            && n > 0
        {
            let mut state = self.lock();
            let bytes = &mut state.connections[index].bytes;
            bytes.extend_from_slice(&piece[..n]);
            let Ok(told) = oracle::requests(bytes) else { continue };
            let heads: Vec<bool> = told.whole.iter().skip(answered).map(|one| one.method == "HEAD").collect();
            answered = told.whole.len();
            let answers: Vec<(Vec<u8>, bool)> =
                heads.into_iter().map(|head| state.script.take().unwrap_or_else(|| (plain(head), false))).collect();
            drop(state);
            for (answer, close) in answers {
                let _ = stream.write_all(&answer);
                if close {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
        }
        self.lock().connections[index].stream = None;
        self.changed.notify_all();
    }
}

fn plain(head: bool) -> Vec<u8> {
    if head { OK[..OK.len() - 2].to_vec() } else { OK.to_vec() }
}
