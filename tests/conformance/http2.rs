//! Frames that RFC 9113 forbids, and requests that it calls malformed: what each must lead to, and nothing of it goes
//! upstream.

use std::net::{IpAddr, SocketAddr};

use crate::frames::*;
use crate::oracle;
use crate::recorder::Recorder;
use crate::weft::{ALL, Listener, Weft, bootstrap, filtered, own_address};

/// What a peer must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A connection error: GOAWAY, or at least the end.
    Ends,
    /// A stream error, a 4xx, or a connection error in place of them (RFC 9113 section 5.4).
    Refused,
    /// It is allowed.
    Served,
    /// The stream was over before: it, or the connection, may end or be silent.
    Either,
    /// Never wanted: no answer, and no end.
    Hangs,
}

use Fate::{Ends, Refused, Served};

type Case = (&'static str, Fate, Vec<u8>);

fn settings(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, block)
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    whole(&[get("/"), fields(more)].concat())
}

fn connection() -> Vec<Case> {
    let open = frame(HEADERS, END_HEADERS, 1, &post(&[]));
    let begun = frame(HEADERS, END_STREAM, 1, &get("/"));
    let full = 0x7fff_ffff_u32.to_be_bytes();
    vec![
        ("a plain request", Served, whole(&get("/"))),
        (
            "a request in two frames",
            Served,
            [begun.clone(), frame(CONTINUATION, END_HEADERS, 1, &fields(&[("a", "b")]))].concat(),
        ),
        ("a frame of a kind nobody knows", Served, [frame(0xee, 0xff, 0, b"what"), whole(&get("/"))].concat()),
        (
            "flags nobody knows",
            Served,
            [frame(PING, 0x10, 0, &[0; 8]), frame(HEADERS, WHOLE | 0xc0 & 0x40, 1, &get("/"))].concat(),
        ),
        ("a setting nobody knows", Served, [settings(0xff, 1), whole(&get("/"))].concat()),
        ("a reserved bit", Served, frame(HEADERS, WHOLE, 0x8000_0001, &get("/"))),
        ("padding", Served, frame(HEADERS, WHOLE | PADDED, 1, &[&[3][..], &get("/"), &[0; 3]].concat())),
        ("priority in a head", Served, frame(HEADERS, WHOLE | 0x20, 1, &[&[0, 0, 0, 3, 16][..], &get("/")].concat())),
        ("priority of an idle stream", Served, [frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 16]), whole(&get("/"))].concat()),
        ("a frame beyond the largest", Ends, frame(DATA, 0, 1, &[0; 16_385])),
        ("a head beyond the largest", Ends, whole(&[0; 16_385])),
        ("DATA on stream 0", Ends, frame(DATA, 0, 0, b"x")),
        ("HEADERS on stream 0", Ends, frame(HEADERS, WHOLE, 0, &get("/"))),
        ("PRIORITY on stream 0", Ends, frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 16])),
        ("RST_STREAM on stream 0", Ends, frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])),
        ("CONTINUATION on stream 0", Ends, frame(CONTINUATION, END_HEADERS, 0, &[])),
        ("SETTINGS on a stream", Ends, frame(SETTINGS, 0, 1, &[])),
        ("PING on a stream", Ends, frame(PING, 0, 1, &[0; 8])),
        ("GOAWAY on a stream", Ends, frame(GOAWAY, 0, 1, &[0; 8])),
        ("an even stream", Ends, frame(HEADERS, WHOLE, 2, &get("/"))),
        (
            "a stream before another",
            Ends,
            [frame(HEADERS, WHOLE, 5, &get("/")), frame(HEADERS, WHOLE, 3, &get("/"))].concat(),
        ),
        ("DATA on an idle stream", Ends, frame(DATA, 0, 1, b"x")),
        ("RST_STREAM on an idle stream", Ends, frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("WINDOW_UPDATE on an idle stream", Ends, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("CONTINUATION on an idle stream", Ends, frame(CONTINUATION, END_HEADERS, 1, &get("/"))),
        ("CONTINUATION after the head", Ends, [open.clone(), frame(CONTINUATION, END_HEADERS, 1, &get("/"))].concat()),
        ("CONTINUATION of another stream", Ends, [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
        ("DATA inside a head", Ends, [begun.clone(), frame(DATA, 0, 1, b"x")].concat()),
        ("PING inside a head", Ends, [begun.clone(), frame(PING, 0, 0, &[0; 8])].concat()),
        ("another head inside a head", Ends, [begun.clone(), frame(HEADERS, WHOLE, 3, &get("/"))].concat()),
        ("an unknown frame inside a head", Ends, [begun, frame(0xee, 0, 1, b"x")].concat()),
        ("PUSH_PROMISE from a client", Ends, frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a PING that is too short", Ends, frame(PING, 0, 0, &[0; 7])),
        ("a PING that is too long", Ends, frame(PING, 0, 0, &[0; 9])),
        ("RST_STREAM that is too short", Ends, [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        ("WINDOW_UPDATE that is too short", Ends, frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("SETTINGS of five bytes", Ends, frame(SETTINGS, 0, 0, &[0; 5])),
        ("an acknowledgement that says something", Ends, frame(SETTINGS, ACK, 0, &[0, 1, 0, 0, 0, 0])),
        ("push that is neither on nor off", Ends, settings(2, 2)),
        ("a window beyond its largest", Ends, settings(4, 1 << 31)),
        ("a frame size below its least", Ends, settings(5, 16_383)),
        ("a frame size beyond its largest", Ends, settings(5, 1 << 24)),
        ("a connection window of nothing more", Ends, frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        (
            "a connection window that overflows",
            Ends,
            [frame(WINDOW_UPDATE, 0, 0, &full), frame(WINDOW_UPDATE, 0, 0, &full)].concat(),
        ),
        ("padding of DATA beyond its frame", Ends, [open.clone(), frame(DATA, PADDED, 1, &[9, 1])].concat()),
        ("padding of HEADERS beyond its frame", Ends, frame(HEADERS, WHOLE | PADDED, 1, &[200, 1])),
        ("an index beyond the table", Ends, whole(&[0xff, 0x80, 0x01])),
        ("index zero", Ends, whole(&[0x80])),
        ("a string that is cut", Ends, whole(&[0, 10, b'a'])),
        ("a table larger than allowed", Ends, whole(&[0x3f, 0xe2, 0x1f, 0x88])),
        ("Huffman padding that is too long", Ends, whole(&[0, 0x85, 0xff, 0xff, 0xff, 0xff, 0xff, 0])),
    ]
}

fn streams() -> Vec<Case> {
    let open = |more: &[(&str, &str)]| frame(HEADERS, END_HEADERS, 1, &post(more));
    let full = 0x7fff_ffff_u32.to_be_bytes();
    vec![
        ("a window of nothing more", Refused, [open(&[]), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        ("a window that overflows", Refused, [open(&[]), frame(WINDOW_UPDATE, 0, 1, &full)].concat()),
        (
            "a stream that depends on itself",
            Refused,
            frame(HEADERS, WHOLE | 0x20, 1, &[&[0, 0, 0, 1, 16][..], &get("/")].concat()),
        ),
        (
            "more body than was declared",
            Refused,
            [open(&[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"xx")].concat(),
        ),
        (
            "less body than was declared",
            Refused,
            [open(&[("content-length", "9")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
        ),
        ("a declared body that is none", Refused, whole(&post(&[("content-length", "9")]))),
        ("a length that is no number", Refused, whole(&post(&[("content-length", "x")]))),
        ("a length with a plus", Refused, whole(&post(&[("content-length", "+0")]))),
        (
            "two lengths",
            Refused,
            [open(&[("content-length", "1"), ("content-length", "2")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
        ),
        ("a name in capitals", Refused, with(&[("X-A", "b")])),
        ("a name with a blank", Refused, with(&[("x a", "b")])),
        ("a name with a colon", Refused, with(&[("x:a", "b")])),
        ("no name", Refused, with(&[("", "b")])),
        ("a name with a line end", Refused, with(&[("x\r\na", "b")])),
        ("a value with a line end", Refused, with(&[("x-a", "b\r\nx-b: c")])),
        ("a value with a NUL", Refused, with(&[("x-a", "b\0c")])),
        ("a pseudo-header nobody knows", Refused, with(&[(":test", "b")])),
        ("a pseudo-header of answers", Refused, with(&[(":status", "200")])),
        (
            "a pseudo-header after the others",
            Refused,
            whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "h"), ("a", "b"), (":path", "/")])),
        ),
        ("no method", Refused, whole(&fields(&[(":scheme", "http"), (":path", "/"), (":authority", "h")]))),
        ("no scheme", Refused, whole(&fields(&[(":method", "GET"), (":path", "/"), (":authority", "h")]))),
        ("no path", Refused, whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "h")]))),
        (
            "an empty path",
            Refused,
            whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "h")])),
        ),
        ("no authority", Refused, whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]))),
        ("two methods", Refused, with(&[(":method", "GET")])),
        ("two paths", Refused, with(&[(":path", "/admin")])),
        ("two authorities", Refused, with(&[(":authority", "other")])),
        ("a path without a slash", Refused, whole(&get("admin"))),
        ("a path with a blank", Refused, whole(&get("/a b"))),
        ("a path with a line end", Refused, whole(&get("/a\r\nx: y"))),
        ("a path beyond ASCII", Refused, whole(&get("/ä"))),
        ("a fragment, which is left out", Served, whole(&get("/a#b"))),
        (
            "a method with a blank",
            Refused,
            whole(&fields(&[(":method", "GET /x"), (":scheme", "http"), (":path", "/"), (":authority", "h")])),
        ),
        (
            "an authority with a path",
            Refused,
            whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h/x")])),
        ),
        (
            "an authority with userinfo",
            Refused,
            whole(&fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "u@h")])),
        ),
        ("a host that is another", Refused, with(&[("host", "other")])),
        ("two hosts", Refused, with(&[("host", "h"), ("host", "h")])),
        ("connection", Refused, with(&[("connection", "close")])),
        ("transfer-encoding", Refused, with(&[("transfer-encoding", "chunked")])),
        ("upgrade", Refused, with(&[("upgrade", "h2c")])),
        ("keep-alive", Refused, with(&[("keep-alive", "1")])),
        ("proxy-connection", Refused, with(&[("proxy-connection", "close")])),
        ("te of gzip", Refused, with(&[("te", "gzip")])),
        ("te of trailers", Served, with(&[("te", "trailers")])),
        (
            "CONNECT with a path",
            Refused,
            whole(&fields(&[(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "h:1")])),
        ),
        ("CONNECT without an authority", Refused, whole(&fields(&[(":method", "CONNECT")]))),
        (
            "CONNECT where it is not configured",
            Refused,
            whole(&fields(&[(":method", "CONNECT"), (":authority", "h:1")])),
        ),
        (
            "a protocol where it is not offered",
            Refused,
            whole(&fields(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "h"),
            ])),
        ),
        (
            "a pseudo-header in trailers, which is left out",
            Served,
            [open(&[]), whole(&fields(&[(":path", "/")]))].concat(),
        ),
        (
            "trailers that do not end",
            Refused,
            [open(&[]), frame(HEADERS, END_HEADERS, 1, &fields(&[("a", "b")]))].concat(),
        ),
        ("a PRIORITY that is too short", Refused, [open(&[]), frame(PRIORITY, 0, 1, &[0; 4])].concat()),
        ("trailers", Served, [open(&[]), frame(DATA, 0, 1, b"x"), whole(&fields(&[("x-sum", "1")]))].concat()),
        ("two cookies", Served, with(&[("cookie", "a=b"), ("cookie", "c=d")])),
    ]
}

/// Streams that are over: RFC 9113 section 5.1 lets a peer end the stream or the connection.
fn over() -> Vec<Case> {
    let reset = [frame(HEADERS, END_HEADERS, 1, &post(&[])), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat();
    vec![
        ("DATA after the end", Fate::Either, [whole(&get("/")), frame(DATA, 0, 1, b"x")].concat()),
        ("HEADERS after the end", Fate::Either, [whole(&get("/")), whole(&get("/"))].concat()),
        ("DATA after a reset", Fate::Either, [reset.clone(), frame(DATA, END_STREAM, 1, b"x")].concat()),
        ("HEADERS after a reset", Fate::Either, [reset.clone(), whole(&get("/"))].concat()),
        ("WINDOW_UPDATE after a reset", Fate::Either, [reset, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])].concat()),
    ]
}

/// How a bootstrap is made.
type Bootstrap = fn(IpAddr, &[Listener<'_>], SocketAddr, &str) -> String;

struct Proxy {
    address: SocketAddr,
    recorder: Recorder,
    _weft: Weft,
}

impl Proxy {
    fn start(bootstrap: Bootstrap) -> Self {
        let address = own_address();
        let recorder = Recorder::start(address);
        let listener = Listener { name: "http2", port: 8001, manager: "codec_type: HTTP2", routes: ALL };
        let cluster = crate::requests::CLUSTER;
        let weft = Weft::start(&bootstrap(address, &[listener], recorder.address, cluster));
        Self { address: (address, 8001).into(), recorder, _weft: weft }
    }

    /// What came of a case, and what is wrong with that.
    fn run(&self, (name, fate, bytes): &Case) -> Option<String> {
        let mut raw = Raw::connect(self.address);
        raw.send(bytes);
        let lives = raw.lives();
        let seen = match fate {
            // Of a stream that is over nothing need be heard.
            Fate::Either => Fate::Either,
            _ if lives => answer(&raw),
            _ => Ends,
        };
        drop(raw);
        let upstream = self.recorder.take();
        let whole: usize = match upstream.iter().map(|bytes| oracle::requests(bytes)).collect::<Result<Vec<_>, _>>() {
            Ok(told) => told.iter().map(|told| told.whole.len()).sum(),
            Err(problem) => return Some(format!("{name}: upstream saw {problem}")),
        };
        let right = seen == *fate || (*fate == Refused && seen == Ends);
        let smuggled = matches!(fate, Ends | Refused) && whole > 0;
        (!right || smuggled).then(|| format!("{name}: wanted {fate:?}, got {seen:?}, {whole} requests upstream"))
    }
}

/// What the first stream was answered, on a connection that goes on.
fn answer(raw: &Raw) -> Fate {
    match raw.wait(|frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)) {
        Some(Some(frame)) if frame.kind == HEADERS && frame.payload.contains(&0x88) => Served,
        Some(Some(_)) => Refused,
        Some(None) => Ends,
        None => Fate::Hangs,
    }
}

#[test]
fn what_the_standard_forbids_ends_the_connection_or_the_stream_and_nothing_goes_upstream() {
    for (filters, made) in [("without filters", bootstrap as Bootstrap), ("with filters", filtered)] {
        let proxy = Proxy::start(made);
        let cases = [connection(), streams(), over()].concat();
        let problems: Vec<String> = cases.iter().filter_map(|case| proxy.run(case)).collect();
        assert!(problems.is_empty(), "{filters}, of {}:\n{}", cases.len(), problems.join("\n"));
    }
}

#[test]
fn a_connection_that_does_not_begin_as_http2_ends() {
    let proxy = Proxy::start(bootstrap);
    for beginning in [&b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &[0; 64]] {
        assert!(Raw::begin(proxy.address, beginning).ends());
    }
    // SETTINGS come first.
    assert!(Raw::begin(proxy.address, &[PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()).ends());
    assert!(proxy.recorder.take().is_empty());
}
