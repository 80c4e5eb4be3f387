//! Writes heads and frames. Every message leaves with exactly one framing, chosen here.

use bytes::Bytes;

use super::Framing;
use crate::http::headers::{Headers, decimal};
use crate::http::message::{RequestHead, ResponseHead, Version};

/// Appends a request head.
pub fn request(out: &mut Vec<u8>, head: &RequestHead, framing: Framing) {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    let target = if head.method == "CONNECT" { &head.authority } else { &head.path };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, &head.headers);
    match framing {
        Framing::Length(0) if !takes_body(&head.method) => {}
        framing => self::framing(out, framing),
    }
    if let Some(protocol) = &head.upgrade {
        out.extend_from_slice(b"connection: Upgrade\r\nupgrade: ");
        out.extend_from_slice(protocol.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head. `last`: the connection closes after it.
pub fn response(out: &mut Vec<u8>, head: &ResponseHead, framing: Framing, last: bool) {
    out.extend_from_slice(b"HTTP/1.1 ");
    let status = head.status.clamp(100, 999);
    out.extend_from_slice(&[b'0' + (status / 100) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8]);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let switching = status == 101;
    for (name, line) in head.headers.lines() {
        let own_length = name == b"content-length" && framing != Framing::None;
        if own_length
            || (super::parse::is_framing(name) && name != b"content-length" && !(switching && name == b"upgrade"))
        {
            continue;
        }
        out.extend_from_slice(line);
    }
    self::framing(out, framing);
    if switching {
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn fields(out: &mut Vec<u8>, headers: &Headers) {
    for (name, line) in headers.lines() {
        if name == b"te" {
            // Hop by hop: it needs its own nomination (RFC 9110 section 10.1.4).
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        } else if !super::parse::is_framing(name) {
            out.extend_from_slice(line);
        }
    }
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::Close => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(decimal(length, &mut [0; 20]));
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Appends a piece of a body.
pub fn data(out: &mut Vec<u8>, framing: Framing, data: &Bytes) {
    if data.is_empty() {
        return;
    }
    if framing == Framing::Chunked {
        chunk_head(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(data);
    }
}

fn chunk_head(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for shift in (0..digits).rev() {
        let digit = (size >> (shift * 4) & 0xf) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body.
pub fn end(out: &mut Vec<u8>, framing: Framing, trailers: Option<&Headers>) {
    if framing == Framing::Chunked {
        out.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            fields(out, trailers);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether the lack of a body is worth saying (RFC 9110 section 8.6; Envoy says it of every method but these).
fn takes_body(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "DELETE" | "TRACE" | "CONNECT")
}

/// How a response body of that length goes to a client of that version.
pub fn response_framing(status: u16, method: &str, length: Option<u64>, version: Version) -> Framing {
    let bodiless = method == "HEAD" || (100..200).contains(&status) || matches!(status, 204 | 304);
    if bodiless || (method == "CONNECT" && (200..300).contains(&status)) {
        return Framing::None;
    }
    match length {
        Some(length) => Framing::Length(length),
        None if version == Version::Http10 => Framing::Close,
        None => Framing::Chunked,
    }
}

/// The reason phrases of RFC 9110 section 15 and RFC 6585.
pub(super) fn reason(status: u16) -> &'static str {
    if status == 418 {
        return "Unknown";
    }
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
