//! The chunked transfer coding (RFC 9112 section 7.1), decoded without copying.

use bytes::{Bytes, BytesMut};

use crate::http::headers::Headers;

/// A chunk-size line or trailer section may have this many bytes.
const MAX_LINE: usize = 4096;
const MAX_TRAILERS: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

#[derive(Debug)]
pub enum Decoded {
    /// More bytes are needed.
    Wait,
    Data(Bytes),
    Trailers(Headers),
    End,
}

impl Chunked {
    /// Takes what it can from `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match *self {
                Self::Size => {
                    let Some(line) = take_line(buf, MAX_LINE, "a chunk-size line is too long")? else {
                        return Ok(Decoded::Wait);
                    };
                    *self = match chunk_size(&line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    if buf.is_empty() {
                        return Ok(Decoded::Wait);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                    *self = if take as u64 == left { Self::DataEnd } else { Self::Data(left - take as u64) };
                    return Ok(Decoded::Data(buf.split_to(take).freeze()));
                }
                Self::DataEnd => {
                    if buf.len() < 2 {
                        return Ok(Decoded::Wait);
                    }
                    if &buf.split_to(2)[..] != b"\r\n" {
                        return Err("a chunk does not end with CRLF");
                    }
                    *self = Self::Size;
                }
                Self::Trailers => match trailers(buf)? {
                    None => return Ok(Decoded::Wait),
                    Some(trailers) => {
                        *self = Self::Done;
                        return Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) });
                    }
                },
                Self::Done => return Ok(Decoded::End),
            }
        }
    }
}

/// A line without its CRLF, or `None` if it is not complete. A bare LF or CR is refused.
fn take_line(buf: &mut BytesMut, max: usize, too_long: &'static str) -> Result<Option<BytesMut>, &'static str> {
    let Some(end) = buf.iter().take(max + 2).position(|b| *b == b'\n') else {
        return if buf.len() > max { Err(too_long) } else { Ok(None) };
    };
    let mut line = buf.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') {
        return Err("a line ends with LF alone");
    }
    line.truncate(end - 1);
    if line.contains(&b'\r') {
        return Err("a CR stands inside a line");
    }
    Ok(Some(line))
}

fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return Err("a chunk size is 1 to 16 hexadecimal digits");
    }
    let extension = &line[digits..];
    let blank = extension.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    if !matches!(extension.get(blank), None | Some(b';')) || blank > 0 && blank == extension.len() {
        return Err("only an extension (;name=value) may follow a chunk size");
    }
    if extension.iter().any(|b| *b < b' ' && *b != b'\t' || *b == 0x7f) {
        return Err("a chunk extension has no control characters");
    }
    let mut size = 0u64;
    for digit in &line[..digits] {
        let value = (*digit as char).to_digit(16).map_or(0, u64::from);
        size = size.checked_mul(16).map(|size| size + value).ok_or("a chunk size is too large")?;
    }
    Ok(size)
}

/// The trailer section, once it is complete.
fn trailers(buf: &mut BytesMut) -> Result<Option<Headers>, &'static str> {
    if buf.starts_with(b"\r\n") {
        let _ = buf.split_to(2);
        return Ok(Some(Headers::new()));
    }
    let Some(end) = section_end(buf)? else {
        return if buf.len() > MAX_TRAILERS { Err("the trailers are too large") } else { Ok(None) };
    };
    let section = buf.split_to(end);
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let parsed = match httparse::parse_headers(&section, &mut slots) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        _ => return Err("the trailers are malformed"),
    };
    let mut trailers = Headers::new();
    for field in parsed {
        trailers.try_append(field.name.as_bytes(), field.value).map_err(|_| "a trailer is malformed")?;
    }
    trailers.retain(|name, _| crate::http::headers::may_trail(name));
    Ok(Some(trailers))
}

/// Where the empty line ends that closes the section, or what is wrong with a line before it.
fn section_end(buf: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut start = 0;
    while let Some(length) = buf[start..].iter().position(|b| *b == b'\n') {
        let line = &buf[start..start + length];
        let Some(line) = line.strip_suffix(b"\r") else { return Err("a trailer line ends with LF alone") };
        if line.contains(&b'\r') {
            return Err("a CR stands inside a trailer line");
        }
        start += length + 1;
        if line.is_empty() {
            return Ok(Some(start));
        }
    }
    Ok(None)
}
