//! An HTTP/2 client that sends whatever frames it is told to, in order or not (RFC 9113 section 4).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::recorder::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields as literals that are not indexed (RFC 7541 section 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// A length in seven bits and more, and the bytes.
pub fn string(block: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 128);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend(text);
}

/// The fields of a plain request.
pub fn get(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "h")])
}

pub fn post(more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
    fields(&[&head, more].concat())
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection, and all that has come on it.
pub struct Raw {
    stream: TcpStream,
    shared: Arc<(Mutex<Inbox>, Condvar)>,
}

#[derive(Default)]
struct Inbox {
    frames: Vec<Came>,
    ended: bool,
}

impl Raw {
    /// A connection that has begun.
    pub fn connect(address: SocketAddr) -> Self {
        Self::begin(address, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
    }

    /// A connection that begins with these bytes.
    pub fn begin(address: SocketAddr, bytes: &[u8]) -> Self {
        let mut raw = Self::open(address);
        let (mut reader, inbox) = (raw.stream.try_clone().unwrap(), Arc::clone(&raw.shared));
        std::thread::spawn(move || {
            while let Some(frame) = read_frame(&mut reader) {
                inbox.0.lock().unwrap().frames.push(frame);
                inbox.1.notify_all();
            }
            inbox.0.lock().unwrap().ended = true;
            inbox.1.notify_all();
        });
        raw.send(bytes);
        raw
    }

    /// A connection that has begun, of which nothing is ever read.
    pub fn unread(address: SocketAddr) -> Self {
        let mut raw = Self::open(address);
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        raw
    }

    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, shared: Arc::default() }
    }

    /// Whether the bytes could still be sent.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The first frame for which this is true; `None` if the connection ends without it.
    pub fn find(&self, wanted: impl Fn(&Came) -> bool) -> Option<Came> {
        self.wait(wanted).unwrap_or_else(|| panic!("nothing of the kind comes, and the connection stays"))
    }

    /// The same; `None` if nothing of the kind comes, and the connection stays.
    #[allow(clippy::option_option)]
    pub fn wait(&self, wanted: impl Fn(&Came) -> bool) -> Option<Option<Came>> {
        let found = |inbox: &Inbox| inbox.frames.iter().find(|frame| wanted(frame)).cloned();
        let waiting = |inbox: &mut Inbox| found(inbox).is_none() && !inbox.ended;
        let (inbox, waited) =
            self.shared.1.wait_timeout_while(self.shared.0.lock().unwrap(), PATIENCE, waiting).unwrap();
        (!waited.timed_out()).then(|| found(&inbox))
    }

    /// Waits for the end of the connection.
    pub fn ends(&self) -> bool {
        let ended = self.shared.0.lock().unwrap();
        let (inbox, _) = self.shared.1.wait_timeout_while(ended, PATIENCE, |inbox| !inbox.ended).unwrap();
        inbox.ended
    }

    /// Whether the server still answers, and so has read all that was sent before.
    pub fn lives(&mut self) -> bool {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The answer to an earlier question is none to this one.
        let question = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.send(&frame(PING, 0, 0, &question));
        self.find(|frame| frame.kind == PING && frame.flags & ACK != 0 && frame.payload == question).is_some()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

pub fn read_frame(reader: &mut TcpStream) -> Option<Came> {
    let mut header = [0; 9];
    reader.read_exact(&mut header).ok()?;
    let [a, b, c, kind, flags, stream @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    reader.read_exact(&mut payload).ok()?;
    Some(Came { kind, flags, stream: u32::from_be_bytes(stream), payload })
}
