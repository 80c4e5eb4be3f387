//! An upstream that keeps every byte it receives, and answers each request that has come whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::oracle;

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Far longer than anything here takes; whoever waits so long has found a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer of which nothing is taken for so long is stuck.
const STUCK: Duration = Duration::from_millis(500);

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
    /// The answer to the next request, and whether the connection ends with it; `always` afterwards.
    script: Option<(Arc<[u8]>, bool)>,
    always: Always,
    requests: usize,
    most_at_once: usize,
    /// Answers that the proxy does not take.
    blocked: usize,
}

#[derive(Clone, Default)]
enum Always {
    #[default]
    Ok,
    Answer(Arc<[u8]>),
    Never,
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
        self.shared.lock().script = Some((answer.into(), close));
    }

    /// Answers every request with these bytes.
    pub fn always(&self, answer: Vec<u8>) {
        self.shared.lock().always = Always::Answer(answer.into());
    }

    /// Answers no request.
    pub fn never(&self) {
        self.shared.lock().always = Always::Never;
    }

    /// Waits until so many requests have come in all.
    pub fn requests(&self, number: usize) {
        drop(self.shared.wait(|state| state.requests >= number));
    }

    /// Waits until so many answers are stuck.
    pub fn blocked(&self, number: usize) {
        drop(self.shared.wait(|state| state.blocked >= number));
    }

    /// The most connections that were open at a time.
    pub fn most_at_once(&self) -> usize {
        self.shared.lock().most_at_once
    }

    /// What came on each connection so far.
    pub fn take_all(&self) -> Vec<Vec<u8>> {
        self.shared.lock().connections.iter().map(|one| one.bytes.clone()).collect()
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let (state, waited) = self.changed.wait_timeout_while(self.lock(), PATIENCE, |state| !until(state)).unwrap();
        assert!(!waited.timed_out(), "what the upstream waits for does not happen");
        state
    }

    fn write(&self, stream: &mut TcpStream, mut answer: &[u8]) {
        while !answer.is_empty() {
            match stream.write(answer) {
                Ok(n) => answer = &answer[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.lock().blocked += 1;
                    self.changed.notify_all();
                    // From now on it waits as long as it takes.
                    stream.set_write_timeout(None).unwrap();
                }
                Err(_) => return,
            }
        }
    }

    fn accepted(&self, stream: &TcpStream, peer: SocketAddr) -> usize {
        let mut state = self.lock();
        state.connections.push(Connection { peer, bytes: Vec::new(), stream: Some(stream.try_clone().unwrap()) });
        let open = state.connections.iter().filter_map(|one| one.stream.as_ref()).filter(|one| is_open(one)).count();
        state.most_at_once = state.most_at_once.max(open);
        self.changed.notify_all();
        state.connections.len() - 1
    }

    fn serve(&self, index: usize, mut stream: TcpStream) {
        stream.set_write_timeout(Some(STUCK)).unwrap();
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
            state.requests += heads.len();
            let answers: Vec<(Arc<[u8]>, bool)> = heads.into_iter().filter_map(|head| state.answer(head)).collect();
            drop(state);
            self.changed.notify_all();
            for (answer, close) in answers {
                self.write(&mut stream, &answer);
                if close {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
        }
        self.lock().connections[index].stream = None;
        self.changed.notify_all();
    }
}

impl State {
    fn answer(&mut self, head: bool) -> Option<(Arc<[u8]>, bool)> {
        self.script.take().or_else(|| match &self.always {
            Always::Ok => Some((plain(head).into(), false)),
            Always::Answer(answer) => Some((Arc::clone(answer), false)),
            Always::Never => None,
        })
    }
}

/// Whether the proxy has not closed it; nothing is read.
fn is_open(stream: &TcpStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(recv(stream.as_raw_fd(), &mut [0], flags), Ok(0) | Err(Errno::ECONNRESET))
}

fn plain(head: bool) -> Vec<u8> {
    if head { OK[..OK.len() - 2].to_vec() } else { OK.to_vec() }
}
