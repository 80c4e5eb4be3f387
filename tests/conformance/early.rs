//! Answers that come before the request's body has been read: the client gets the whole answer and not a reset, and
//! no byte of the body is taken for a request.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, fields, frame, get};
use crate::oracle::Message;
use crate::recorder::PATIENCE;
use crate::requests::read;
use crate::weft::{Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;
const UPLOAD: usize = 16 * 1024 * 1024;
const ANSWER: usize = 1024 * 1024;

struct Mesh {
    address: SocketAddr,
    _weft: Weft,
}

impl Mesh {
    fn start() -> Self {
        let address = own_address();
        let routes = format!(
            "{{ match: {{ prefix: /denied }}, direct_response: {{ status: 403, body: {{ inline_string: {} }} }} }}, \
             {{ match: {{ prefix: / }}, route: {{ cluster: upstream, timeout: 60s }} }}",
            "x".repeat(4000)
        );
        let listener = Listener { name: "early", port: PORT, manager: "codec_type: AUTO", routes: &routes };
        let weft = Weft::start(&bootstrap(address, &[listener], hasty(address), ""));
        Self { address: (address, PORT).into(), _weft: weft }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }
}

/// An upstream that answers a head with a large 413, at once, and then reads what is left.
fn hasty(address: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || answer(stream));
        }
    });
    at
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut piece = [0; 65536];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    let told = format!("HTTP/1.1 413 Too Large\r\ncontent-length: {ANSWER}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(&[told.as_bytes(), &vec![b'y'; ANSWER]].concat());
    let _ = stream.shutdown(Shutdown::Write);
    while matches!(stream.read(&mut piece), Ok(n) if n > 0) {}
}

fn one(client: &mut TcpStream) -> Message {
    let told = read(client, &mut Vec::new(), false, usize::MAX).unwrap();
    let [message] = &told.whole[..] else { panic!("{} answers", told.whole.len()) };
    message.clone()
}

#[test]
fn an_answer_before_the_body_arrives_whole() {
    let mesh = Mesh::start();
    for (path, status, length) in [("/denied", 403, 4000), ("/upload", 413, ANSWER)] {
        let mut client = mesh.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {UPLOAD}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        // All of the body is sent before anything is read, as simple clients do.
        let mut sender = client.try_clone().unwrap();
        let sending = std::thread::spawn(move || sender.write_all(&vec![b'z'; UPLOAD]));
        let answer = one(&mut client);
        assert_eq!((answer.status, answer.body.len()), (status, length), "{path}");
        let _ = sending.join().unwrap();
    }
}

#[test]
fn a_client_that_waits_for_100_may_get_its_refusal_at_once() {
    let mesh = Mesh::start();
    for (path, status) in [("/denied", 403), ("/upload", 413)] {
        let mut client = mesh.connect();
        let body = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let expect = format!("Host: h\r\nExpect: 100-continue\r\nContent-Length: {}\r\n", body.len());
        client.write_all(format!("POST {path} HTTP/1.1\r\n{expect}\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let first = read(&mut client, &mut bytes, false, 1).unwrap();
        assert_eq!(first.whole.last().unwrap().status, status, "{path}");
        assert!(path != "/denied" || first.whole.len() == 1, "it asks for a body that it will not read");
        // The body that comes all the same is no request.
        let _ = client.write_all(body.as_bytes());
        let all = read(&mut client, &mut bytes, false, usize::MAX).unwrap();
        assert_eq!(all.whole.len(), first.whole.len(), "{path}");
    }
}

#[test]
fn a_stream_that_is_answered_early_ends_alone() {
    let mesh = Mesh::start();
    let mut raw = Raw::connect(mesh.address);
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/denied"), (":authority", "h")];
    raw.send(&frame(HEADERS, END_HEADERS, 1, &fields(&head)));
    raw.send(&frame(DATA, 0, 1, &[b'z'; 1000]));
    let last = raw.find(|came| came.stream == 1 && (came.flags & END_STREAM != 0 && came.kind != RST_STREAM));
    assert!(last.is_some(), "the answer is whole");
    // What is still sent on it is no error of the connection (CVE-2026-26311: DATA after a reset, in one packet).
    raw.send(&[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(DATA, 0, 1, b"late")].concat());
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &get("/denied")));
    assert!(raw.find(|came| came.stream == 3 && came.kind == HEADERS).is_some());
}
