//! HTTP/2 servers that misbehave: the client gets an answer that is whole, or learns that it is not, and the next
//! request is served as if nothing had been.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::frames::*;
use crate::oracle;
use crate::recorder::PATIENCE;
use crate::requests::read;
use crate::weft::{Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;
/// Only who waits in vain is in a hurry.
const ROUTES: &str = "{ match: { prefix: /hasty }, route: { cluster: upstream, timeout: 1s } }, \
     { match: { prefix: / }, route: { cluster: upstream, timeout: 30s } }";
const CLUSTER: &str = "typed_extension_protocol_options: \
     { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { \"@type\": \
     type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
     explicit_http_config: { http2_protocol_options: {} } } }";

/// What a server does once: it begins with these bytes, and answers the first request with those.
#[derive(Clone, Default)]
struct Script {
    beginning: Vec<u8>,
    answer: Vec<u8>,
    close: bool,
}

/// `:status: 200` in the static table.
const STATUS_200: &[u8] = &[0x88];

fn ok(stream: u32) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, STATUS_200), frame(DATA, END_STREAM, stream, b"ok")].concat()
}

fn settings() -> Vec<u8> {
    [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()
}

fn serve(address: IpAddr, script: Arc<Mutex<Option<Script>>>) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let script = script.lock().unwrap().take();
            std::thread::spawn(move || connection(stream, script));
        }
    });
    address
}

fn connection(mut stream: TcpStream, script: Option<Script>) {
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).is_err() {
        return;
    }
    let mut script = script;
    let beginning = script.as_ref().map(|script| script.beginning.clone()).filter(|bytes| !bytes.is_empty());
    let _ = stream.write_all(&beginning.unwrap_or_else(settings));
    while let Some(frame) = read_frame(&mut stream) {
        if frame.kind != HEADERS {
            continue;
        }
        let once = script.take();
        let close = once.as_ref().is_some_and(|script| script.close);
        let _ = stream.write_all(&once.map_or_else(|| ok(frame.stream), |script| script.answer));
        if close {
            return;
        }
    }
}

fn ask(address: IpAddr, path: &str) -> Result<oracle::Told, String> {
    let mut client = TcpStream::connect((address, PORT)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    read(&mut client, &mut Vec::new(), false, usize::MAX)
}

/// The status and body that the client got, if they came whole.
fn got(address: IpAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let told = ask(address, path).unwrap();
    assert!(told.whole.len() <= 1, "{told:?}");
    told.whole.first().map(|answer| (answer.status, answer.body.clone()))
}

fn answered(answer: Vec<u8>) -> Script {
    Script { answer, ..Script::default() }
}

fn status(more: &[(&str, &str)]) -> Vec<u8> {
    [STATUS_200, &fields(more)].concat()
}

const PLAIN: Option<u16> = Some(200);
const UNAVAILABLE: Option<u16> = Some(503);
const LATE: Option<u16> = Some(504);

/// Each with the status that the client gets; `None`: a beginning that the client can tell from a whole answer.
fn scripts() -> Vec<(&'static str, Script, &'static [Option<u16>])> {
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let goaway = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let reset = |reason: u32| frame(RST_STREAM, 0, 1, &reason.to_be_bytes());
    let none = [&[0, 3][..], &[0; 4]].concat();
    vec![
        (
            "GOAWAY in the middle of an answer",
            answered([head.clone(), goaway(1), frame(DATA, END_STREAM, 1, b"ok")].concat()),
            &[PLAIN],
        ),
        ("GOAWAY that leaves the request out", answered(goaway(0)), &[UNAVAILABLE]),
        ("GOAWAY and the end", Script { close: true, ..answered(goaway(0)) }, &[UNAVAILABLE]),
        ("the end without a word", Script { close: true, ..answered(Vec::new()) }, &[UNAVAILABLE]),
        (
            "no stream allowed",
            Script {
                beginning: [frame(SETTINGS, 0, 0, &none), frame(SETTINGS, ACK, 0, &[])].concat(),
                ..Script::default()
            },
            &[LATE],
        ),
        ("a reset after the head", answered([head.clone(), reset(2)].concat()), &[None]),
        ("a reset before the head", answered(reset(2)), &[UNAVAILABLE, Some(502)]),
        ("a stream that is refused", answered(reset(7)), &[UNAVAILABLE]),
        ("the end after the head", Script { close: true, ..answered(head.clone()) }, &[None]),
        ("trailers only", answered(frame(HEADERS, WHOLE, 1, &status(&[("grpc-status", "0")]))), &[PLAIN]),
        (
            "less body than was declared",
            answered(
                [
                    frame(HEADERS, END_HEADERS, 1, &status(&[("content-length", "9")])),
                    frame(DATA, END_STREAM, 1, b"ok"),
                ]
                .concat(),
            ),
            &[None],
        ),
        (
            "more body than was declared",
            answered(
                [
                    frame(HEADERS, END_HEADERS, 1, &status(&[("content-length", "1")])),
                    frame(DATA, END_STREAM, 1, b"ok"),
                ]
                .concat(),
            ),
            &[None, UNAVAILABLE, Some(502)],
        ),
        (
            "a declared body that is none",
            answered(frame(HEADERS, WHOLE, 1, &status(&[("content-length", "9")]))),
            &[None, UNAVAILABLE, Some(502)],
        ),
        (
            "an interim answer",
            answered([frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "103")])), ok(1)].concat()),
            &[PLAIN],
        ),
        ("a body before the head", answered(frame(DATA, END_STREAM, 1, b"ok")), &[UNAVAILABLE, Some(502)]),
        ("no status", answered(frame(HEADERS, WHOLE, 1, &fields(&[("a", "b")]))), &[UNAVAILABLE, Some(502)]),
        (
            "a status that is a word",
            answered(frame(HEADERS, WHOLE, 1, &fields(&[(":status", "abc")]))),
            &[UNAVAILABLE, Some(502)],
        ),
        (
            "a switch of protocols",
            answered(frame(HEADERS, WHOLE, 1, &fields(&[(":status", "101")]))),
            &[UNAVAILABLE, Some(502)],
        ),
        (
            "a pseudo-header of requests, which is left out",
            answered(frame(HEADERS, WHOLE, 1, &status(&[(":path", "/")]))),
            &[PLAIN],
        ),
        ("a name in capitals", answered(frame(HEADERS, WHOLE, 1, &status(&[("X-A", "b")]))), &[UNAVAILABLE, Some(502)]),
        (
            "a value with a line end",
            answered(frame(HEADERS, WHOLE, 1, &status(&[("x-a", "b\r\nset-cookie: evil")]))),
            &[UNAVAILABLE, Some(502)],
        ),
        (
            "a promise nobody wants",
            answered(frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get("/")].concat())),
            &[UNAVAILABLE, Some(502)],
        ),
        (
            "a frame beyond the largest",
            answered([head.clone(), frame(DATA, END_STREAM, 1, &[0; 20_000])].concat()),
            &[None],
        ),
        ("an answer to another stream", answered(ok(3)), &[UNAVAILABLE, Some(502)]),
        (
            "HTTP/1.1",
            Script { beginning: b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ..Script::default() },
            &[UNAVAILABLE, Some(502)],
        ),
        (
            "endless headers",
            answered(
                [
                    frame(HEADERS, 0, 1, STATUS_200),
                    frame(CONTINUATION, 0, 1, &fields(&[("x-a", &"b".repeat(15_000))])).repeat(100),
                ]
                .concat(),
            ),
            &[UNAVAILABLE, Some(502)],
        ),
        ("nothing", answered(Vec::new()), &[LATE]),
    ]
}

#[test]
fn a_misbehaving_server_harms_its_own_request_only() {
    let address = own_address();
    let script = Arc::new(Mutex::new(None));
    let upstream = serve(address, Arc::clone(&script));
    let listener = Listener { name: "servers", port: PORT, manager: "codec_type: HTTP1", routes: ROUTES };
    let mut problems = Vec::new();
    for (name, once, wanted) in scripts() {
        // A proxy of its own, so that no connection is left over from another case.
        let _weft = Weft::start(&bootstrap(address, &[Listener { ..listener }], upstream, CLUSTER));
        *script.lock().unwrap() = Some(once);
        let first = got(address, if wanted.contains(&LATE) { "/hasty" } else { "/" });
        if !wanted.contains(&first.as_ref().map(|(status, _)| *status)) {
            problems.push(format!("{name}: wanted {wanted:?}, got {first:?}"));
        }
        let second = got(address, "/");
        if second != Some((200, b"ok".to_vec())) {
            problems.push(format!("{name}: the next request got {second:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
