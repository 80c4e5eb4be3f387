//! Reads bytes as the strictest reader would (RFC 9112), and says what another reader could take for something else.
//! It shares no code with the proxy.

/// A message that can be read in one way only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Of a request.
    pub method: String,
    pub target: String,
    /// Of an answer.
    pub status: u16,
    /// Names in small letters.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn field(&self, name: &str) -> Option<String> {
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// What stands in the bytes of a connection.
#[derive(Debug, Default)]
pub struct Told {
    pub whole: Vec<Message>,
    /// Bytes of a message that has not come whole.
    pub rest: usize,
}

type Read<T> = Result<Option<T>, String>;

/// The requests in these bytes, or what is ambiguous in them.
pub fn requests(bytes: &[u8]) -> Result<Told, String> {
    let mut told = Told::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((request, after)) = request(rest)? else { break };
        // What follows a switch of protocols is no HTTP.
        let last = request.method == "CONNECT" || request.field("upgrade").is_some();
        told.whole.push(request);
        rest = after;
        if last {
            return Ok(told);
        }
    }
    told.rest = rest.len();
    Ok(told)
}

/// The answers in these bytes; `head` says which of the requests they answer were HEAD.
pub fn answers(bytes: &[u8], head: bool, ended: bool) -> Result<Told, String> {
    let mut told = Told::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((answer, after)) = answer(rest, head && told.whole.is_empty(), ended)? else { break };
        let switched = answer.status == 101;
        told.whole.push(answer);
        rest = after;
        if switched {
            return Ok(told);
        }
    }
    told.rest = rest.len();
    Ok(told)
}

fn request(bytes: &[u8]) -> Read<(Message, &[u8])> {
    let Some((lines, rest)) = head(bytes)? else { return Ok(None) };
    let line = text(lines[0])?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("the request line {line:?}")) };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("the method {method:?}"));
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) || target.contains('#') {
        return Err(format!("the target {target:?}"));
    }
    let fields = fields(&lines[1..])?;
    let mut message = Message { method: method.into(), target: target.into(), fields, ..Message::default() };
    let hosts: Vec<_> = message.fields.iter().filter(|(name, _)| name == "host").collect();
    let [(_, host)] = hosts[..] else { return Err(format!("{} hosts", hosts.len())) };
    if !host.iter().all(|b| b.is_ascii_alphanumeric() || b".:-_[]%~*".contains(b)) {
        return Err(format!("the host {:?}", String::from_utf8_lossy(host)));
    }
    let length = match framing(&message.fields)? {
        Framing::Chunked => return chunks(message, rest),
        Framing::Length(length) => length,
        Framing::None => 0,
    };
    if rest.len() < length {
        return Ok(None);
    }
    message.body = rest[..length].to_vec();
    Ok(Some((message, &rest[length..])))
}

fn answer(bytes: &[u8], to_head: bool, ended: bool) -> Read<(Message, &[u8])> {
    let Some((lines, rest)) = head(bytes)? else { return Ok(None) };
    let line = text(lines[0])?;
    let told = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = told.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let Some(status) = status.filter(|status| (100..=999).contains(status)) else {
        return Err(format!("the status line {line:?}"));
    };
    let mut message = Message { status, fields: fields(&lines[1..])?, ..Message::default() };
    let framing = framing(&message.fields)?;
    let bodiless = to_head || status < 200 || matches!(status, 204 | 304);
    if bodiless && matches!(status, 100..200 | 204) && !matches!(framing, Framing::None) {
        return Err(format!("a {status} that announces a body"));
    }
    let length = match framing {
        _ if bodiless => 0,
        Framing::Chunked => return chunks(message, rest),
        Framing::Length(length) => length,
        Framing::None if ended => rest.len(),
        Framing::None => return Ok(None),
    };
    if rest.len() < length {
        return Ok(None);
    }
    message.body = rest[..length].to_vec();
    Ok(Some((message, &rest[length..])))
}

/// The lines of a head, and what follows it.
fn head(bytes: &[u8]) -> Read<(Vec<&[u8]>, &[u8])> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((line, after)) = line(rest)? else { return Ok(None) };
        rest = after;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    if lines.is_empty() { Err("an empty line in place of a head".into()) } else { Ok(Some((lines, rest))) }
}

fn line(bytes: &[u8]) -> Read<(&[u8], &[u8])> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else { return Ok(None) };
    let line = &bytes[..end];
    let shown = || String::from_utf8_lossy(line).into_owned();
    let line_end = line.strip_suffix(b"\r").ok_or_else(|| format!("a bare LF after {:?}", shown()))?;
    if line_end.iter().any(|b| matches!(b, b'\r' | 0)) {
        return Err(format!("a bare CR or NUL in {:?}", shown()));
    }
    Ok(Some((line_end, &bytes[end + 1..])))
}

fn fields(lines: &[&[u8]]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let one = |line: &&[u8]| {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let colon = line.iter().position(|b| *b == b':').ok_or_else(|| format!("no colon in {:?}", shown()))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(format!("the name in {:?}", shown()));
        }
        if value.iter().any(|b| *b < b' ' && *b != b'\t' || *b == 0x7f) {
            return Err(format!("a control character in {:?}", shown()));
        }
        Ok((text(name)?.to_ascii_lowercase(), value.to_vec()))
    };
    lines.iter().map(one).collect()
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(fields: &[(String, Vec<u8>)]) -> Result<Framing, String> {
    let all = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, v)| &v[..]).collect::<Vec<_>>();
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::None),
        ([], [b"chunked"]) => Ok(Framing::Chunked),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            Ok(Framing::Length(text(length)?.parse().map_err(|_| "a length beyond reason")?))
        }
        (lengths, codings) => Err(format!("the framing: {} lengths, {} codings", lengths.len(), codings.len())),
    }
}

fn chunks(mut message: Message, mut rest: &[u8]) -> Read<(Message, &[u8])> {
    loop {
        let Some((size, after)) = line(rest)? else { return Ok(None) };
        let size = text(size)?;
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the chunk size {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("the chunk size {size:?}"))?;
        if size == 0 {
            return trailers(message, after);
        }
        if after.len() < size.saturating_add(2) {
            return Ok(None);
        }
        message.body.extend_from_slice(&after[..size]);
        if &after[size..size + 2] != b"\r\n" {
            return Err("a chunk that does not end with its line".into());
        }
        rest = &after[size + 2..];
    }
}

fn trailers(message: Message, mut rest: &[u8]) -> Read<(Message, &[u8])> {
    let mut lines = Vec::new();
    loop {
        let Some((line, after)) = line(rest)? else { return Ok(None) };
        rest = after;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    const FORBIDDEN: [&str; 8] =
        ["host", "content-length", "transfer-encoding", "te", "connection", "authorization", "cookie", "trailer"];
    for (name, _) in fields(&lines)? {
        if FORBIDDEN.contains(&&*name) {
            return Err(format!("{name} in a trailer"));
        }
    }
    Ok(Some((message, rest)))
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("bytes that are no text: {:?}", String::from_utf8_lossy(bytes)))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn the_oracle_itself_finds_what_is_ambiguous() {
    let whole = |text: &str| requests(text.as_bytes()).map(|told| (told.whole.len(), told.rest));
    assert_eq!(whole("GET / HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\nG"), Ok((2, 1)));
    assert_eq!(
        whole("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        Ok((1, 0))
    );
    for wrong in [
        "GET / HTTP/1.1\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\nhost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\n x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\na b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: h\r\na: b\0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
    ] {
        assert!(whole(wrong).is_err(), "{wrong:?}");
    }
}
