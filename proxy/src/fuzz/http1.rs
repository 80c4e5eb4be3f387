//! The HTTP/1.1 codec: what it accepts it can say again, in bytes that mean the same.

use bytes::{Bytes, BytesMut};

use crate::http::h1::chunked::{Chunked, Decoded};
use crate::http::h1::{Framing, Limits, encode, is_connection_header, parse_request, parse_response};
use crate::http::headers::Headers;

/// What is sent on has a few headers of our own besides.
const MORE: Limits = Limits { bytes: 64 * 1024, headers: 110 };

pub fn request(data: &[u8]) {
    let limits = Limits::default();
    let Ok(Some(first)) = parse_request(data, limits, "http") else { return };
    assert!(first.size <= data.len());
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &first.head, first.framing);
    assert_lines(&bytes);
    // HTTP/1.0 need not name a host; what is sent on is HTTP/1.1, which must.
    if first.head.authority.is_empty() {
        return;
    }
    let again = parse_request(&bytes, MORE, "http").ok().flatten().expect("what is sent on can be read");
    assert_eq!(again.size, bytes.len());
    assert_eq!(
        (&again.head.method, &again.head.authority, &again.head.path, &again.head.upgrade),
        (&first.head.method, &first.head.authority, &first.head.path, &first.head.upgrade)
    );
    let kept = |headers: &Headers| {
        let mut headers = headers.clone();
        // Fields of one connection are not sent on.
        headers.retain(|name, _| name == b"te" || !is_connection_header(name));
        headers
    };
    assert_eq!(again.head.headers, kept(&first.head.headers));
    assert_eq!(length(again.framing), length(first.framing));
}

pub fn answer(data: &[u8]) {
    let limits = Limits::default();
    for method in ["GET", "HEAD"] {
        let Ok(Some(first)) = parse_response(data, limits, method) else { continue };
        assert!(first.size <= data.len());
        // An answer until the end of the connection is sent on in chunks.
        let framing = if first.framing == Framing::Close { Framing::Chunked } else { first.framing };
        let mut bytes = Vec::new();
        encode::response(&mut bytes, &first.head, framing, !first.keep_alive);
        assert_lines(&bytes);
        let again = parse_response(&bytes, MORE, method).ok().flatten().expect("what is sent on can be read");
        assert_eq!(again.size, bytes.len());
        assert_eq!((again.head.status, length(again.framing)), (first.head.status, length(framing)));
    }
}

/// A body of no bytes may be said in two ways.
fn length(framing: Framing) -> Framing {
    if framing == Framing::Length(0) { Framing::None } else { framing }
}

/// Lines end with CR LF, no CR, LF or NUL stands elsewhere, and the empty line is the last.
fn assert_lines(bytes: &[u8]) {
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let stray = |line: &[u8]| line.is_empty() || line.iter().any(|b| matches!(b, b'\r' | 0));
    let mut lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    assert!(!lines.any(stray), "{:?}", String::from_utf8_lossy(bytes));
}

/// Decoded at once, byte by byte, and after it is written anew: always the same.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, 1));
    if let Some((body, _)) = whole {
        let mut bytes = Vec::new();
        encode::data(&mut bytes, Framing::Chunked, &Bytes::from(body.clone()));
        encode::end(&mut bytes, Framing::Chunked, None);
        assert_eq!(decode(&bytes, bytes.len()), Some((body, 0)));
    }
}

/// The body and how many bytes follow it; `None` where it is malformed or not whole.
fn decode(data: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
    let (mut decoder, mut buf, mut body) = (Chunked::Size, BytesMut::new(), Vec::new());
    let mut left = data.len();
    for piece in data.chunks(piece) {
        buf.extend_from_slice(piece);
        left -= piece.len();
        loop {
            match decoder.decode(&mut buf).ok()? {
                Decoded::Wait => break,
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::Trailers(_) | Decoded::End => return Some((body, buf.len() + left)),
            }
        }
    }
    None
}
