//! Clients that are slow on purpose, in what they send or in what they take: all of them are let go, and others are
//! served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::frames::{self, HEADERS, Raw, SETTINGS, WHOLE, WINDOW_UPDATE, frame};
use crate::recorder::{PATIENCE, Recorder};
use crate::requests::{CLUSTER, read};
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;
const CLIENTS: usize = 200;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

struct Mesh {
    address: SocketAddr,
    recorder: Recorder,
    _weft: Weft,
}

impl Mesh {
    fn start(manager: &str) -> Self {
        let address: IpAddr = own_address();
        let recorder = Recorder::start(address);
        let listener = Listener { name: "slow", port: PORT, manager, routes: ALL };
        let weft = Weft::start(&bootstrap(address, &[listener], recorder.address, CLUSTER));
        Self { address: (address, PORT).into(), recorder, _weft: weft }
    }

    /// Lets so many clients begin so and go on so; each must be let go, and another client is served meanwhile.
    fn lets_go(&self, begin: &'static [u8], piece: &'static [u8]) {
        let address = self.address;
        let clients: Vec<JoinHandle<bool>> =
            (0..CLIENTS).map(|_| std::thread::spawn(move || drips(address, begin, piece))).collect();
        while !clients.iter().all(JoinHandle::is_finished) {
            assert!(self.serves(), "another client is served");
        }
        let kept = clients.into_iter().map(|one| one.join().unwrap()).filter(|gone| !gone).count();
        assert_eq!(kept, 0, "clients were kept");
    }

    fn serves(&self) -> bool {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(GET).unwrap();
        read(&mut client, &mut Vec::new(), false, 1).is_ok_and(|told| told.whole.iter().any(|one| one.status == 200))
    }
}

/// Sends a piece now and again; whether the connection ends.
fn drips(address: SocketAddr, begin: &[u8], piece: &[u8]) -> bool {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    client.write_all(begin).unwrap();
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        if client.write_all(piece).is_err() {
            return true;
        }
        match client.read(&mut [0; 1024]) {
            Ok(n) if n > 0 => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => return true,
        }
    }
    false
}

#[test]
fn heads_that_come_byte_by_byte_are_let_go() {
    Mesh::start("request_headers_timeout: 5s").lets_go(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", b"x");
}

#[test]
fn bodies_that_come_byte_by_byte_or_not_at_all_are_let_go() {
    const BEGIN: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    Mesh::start("request_timeout: 5s").lets_go(BEGIN, b"x");
    Mesh::start("stream_idle_timeout: 5s").lets_go(BEGIN, b"");
}

/// Longer than all buffers on the way hold.
const LARGE: usize = 8 * 1024 * 1024;

fn large(mesh: &Mesh) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
    mesh.recorder.always([head.as_bytes(), &vec![b'x'; LARGE]].concat());
}

/// A socket with room for little.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

#[test]
fn clients_that_never_read_their_answer_are_let_go() {
    let mesh = Mesh::start("stream_idle_timeout: 5s");
    large(&mesh);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| narrow(mesh.address)).collect();
    clients.iter_mut().for_each(|client| client.write_all(GET).unwrap());
    mesh.recorder.requests(CLIENTS);
    assert!(mesh.serves(), "another client is served");
    // No request is left upstream.
    mesh.recorder.take();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::new();
        let ended = client.read_to_end(&mut got);
        assert!(got.len() < LARGE, "a client got the whole answer");
        // The end may be a clean one where our side of the answer ended first: its head told how long it would be.
        let ended = ended.map_err(|error| error.kind());
        assert!(matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)), "{ended:?} after {} bytes", got.len());
    }
}

#[test]
fn streams_whose_answer_is_never_read_are_let_go() {
    let mesh = Mesh::start("codec_type: AUTO, stream_idle_timeout: 5s");
    large(&mesh);
    let begin = |mut raw: Raw| {
        raw.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
        for n in 0..10 {
            raw.send(&frame(HEADERS, WHOLE, n * 2 + 1, &frames::get("/large")));
        }
        raw
    };
    // One reads its socket and opens no window, the other opens all windows and reads nothing.
    let window = begin(Raw::connect(mesh.address));
    let mut unread = Raw::unread(mesh.address);
    unread.send(&frame(SETTINGS, 0, 0, &[&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat()));
    let _unread = begin(unread);
    mesh.recorder.requests(20);
    assert!(mesh.serves(), "another client is served");
    mesh.recorder.take();
    let reset = |n: u32| move |came: &frames::Came| came.kind == frames::RST_STREAM && came.stream == n * 2 + 1;
    assert!((0..10).all(|n| window.find(reset(n)).is_some()));
}
