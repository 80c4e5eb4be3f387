//! Parses heads (RFC 9112 sections 2 to 6) into the protocol-neutral form, and refuses what is ambiguous.

use std::mem::MaybeUninit;

use super::Framing;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead, Version};

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub headers: usize,
}

impl Default for Limits {
    /// Envoy's defaults: 60 KiB, 100 headers.
    fn default() -> Self {
        Self { bytes: 60 * 1024, headers: 100 }
    }
}

/// Why a head is refused, with the status that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub status: u16,
    /// As in `%RESPONSE_CODE_DETAILS%`: words joined by underscores.
    pub detail: &'static str,
}

impl ParseError {
    /// What the answer says: as Envoy's codec does, which leaves bare what it finds out only after the parser.
    pub fn body(&self) -> &'static str {
        match self.detail {
            "missing_host" => "",
            "request_header_timeout" => "request header timeout",
            _ => super::encode::reason(self.status),
        }
    }
}

/// What the framing headers of a head say besides the message itself.
#[derive(Debug)]
pub struct Parsed<H> {
    pub head: H,
    pub framing: Framing,
    /// Bytes of the head.
    pub size: usize,
    /// Whether the connection may serve another message afterwards.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
}

/// Room for this many headers is on the stack; who allows more pays for it.
const STACK_SLOTS: usize = 128;
/// No method is longer.
const MAX_METHOD: usize = 64;

type Slot<'b> = MaybeUninit<httparse::Header<'b>>;

/// Runs `parse` with room for as many headers as are allowed.
fn with_slots<'b, T>(limits: Limits, parse: impl FnOnce(&mut [Slot<'b>]) -> T) -> T {
    if limits.headers <= STACK_SLOTS {
        let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; STACK_SLOTS];
        return parse(&mut slots[..limits.headers]);
    }
    let mut slots = Vec::new();
    slots.resize_with(limits.headers, MaybeUninit::uninit);
    parse(&mut slots)
}

fn bad(detail: &'static str) -> ParseError {
    ParseError { status: 400, detail }
}

/// Headers that speak of one connection only and are never forwarded.
pub fn is_framing(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"transfer-encoding"
            | b"content-length"
            | b"keep-alive"
            | b"proxy-connection"
            | b"upgrade"
            | b"host"
            | b"te"
            | b"trailer"
            | b"http2-settings"
    )
}

/// Refuses a line that ends with LF alone, or a CR without its LF.
pub fn strict_lines(head: &[u8]) -> Result<(), ParseError> {
    let mut previous = 0u8;
    // Without branches, so that the compiler takes many bytes at a time.
    let wrong = head.iter().fold(false, |wrong, byte| {
        let bare = (*byte == b'\n') != (previous == b'\r');
        previous = *byte;
        wrong | bare
    });
    if wrong { Err(bad("bare_cr_or_lf")) } else { Ok(()) }
}

/// What connection-level headers said.
#[derive(Default)]
struct Hop<'b> {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    upgrade_to: Option<String>,
    content_length: Option<u64>,
    chunked: bool,
    nominated: Vec<String>,
    host: Option<&'b str>,
    te_trailers: bool,
    expects_continue: bool,
}

/// Parses a request head. `Ok(None)`: more bytes are needed.
pub fn parse_request(
    bytes: &[u8],
    limits: Limits,
    scheme: &'static str,
) -> Result<Option<Parsed<RequestHead>>, ParseError> {
    with_slots(limits, |slots| request(bytes, limits, scheme, slots))
}

fn request<'b>(
    bytes: &'b [u8],
    limits: Limits,
    scheme: &'static str,
    slots: &mut [Slot<'b>],
) -> Result<Option<Parsed<RequestHead>>, ParseError> {
    let mut request = httparse::Request::new(&mut []);
    let size = match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return incomplete(bytes, limits).map(|()| None),
        Err(error) => return Err(head_error(error, bytes)),
    };
    if size > limits.bytes {
        return Err(ParseError { status: 431, detail: "headers_too_large" });
    }
    strict_lines(&bytes[leading_crlf(bytes)..size])?;
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let method = request.method.unwrap_or_default();
    if method.len() > MAX_METHOD {
        return Err(ParseError { status: 501, detail: "http1.method_too_long" });
    }
    let mut headers = Headers::with_capacity(size + 256);
    let hop = read_headers(request.headers, &mut headers, true)?;
    let (authority, path) = target(method, request.path.unwrap_or_default(), hop.host, version)?;
    let framing = request_framing(&hop, version)?;
    if hop.te_trailers {
        headers.append("te", "trailers");
    }
    let connect = method == "CONNECT";
    // HTTP/1.0 knows neither upgrades nor interim answers (RFC 9110 sections 7.8 and 10.1.1).
    let modern = version == Version::Http11;
    let upgrade = (hop.upgrade && !connect && modern).then_some(hop.upgrade_to).flatten();
    // A body and a switch of protocols together are a well-known way to smuggle.
    if upgrade.is_some() && framing != Framing::None && framing != Framing::Length(0) {
        return Err(bad("upgrade_with_body"));
    }
    let head = RequestHead { method: method.to_owned(), scheme, authority, path, version, headers, upgrade };
    let keep_alive = !hop.close && (version == Version::Http11 || hop.keep_alive);
    Ok(Some(Parsed { head, framing, size, keep_alive, expects_continue: hop.expects_continue && modern }))
}

/// Parses a response head to a request of that method. `Ok(None)`: more bytes are needed.
pub fn parse_response(bytes: &[u8], limits: Limits, method: &str) -> Result<Option<Parsed<ResponseHead>>, ParseError> {
    with_slots(limits, |slots| response(bytes, limits, method, slots))
}

fn response<'b>(
    bytes: &'b [u8],
    limits: Limits,
    method: &str,
    slots: &mut [Slot<'b>],
) -> Result<Option<Parsed<ResponseHead>>, ParseError> {
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let size = match parser.parse_response_with_uninit_headers(&mut response, bytes, slots) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return incomplete(bytes, limits).map(|()| None),
        Err(error) => return Err(head_error(error, bytes)),
    };
    if size > limits.bytes {
        return Err(ParseError { status: 431, detail: "headers_too_large" });
    }
    strict_lines(&bytes[leading_crlf(bytes)..size])?;
    let version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let status = response.code.unwrap_or_default();
    if status < 100 {
        return Err(bad("status_below_100"));
    }
    let mut headers = Headers::with_capacity(size + 256);
    let hop = read_headers(response.headers, &mut headers, false)?;
    let framing = response_framing(&hop, status, method, version)?;
    // A head that never has a body keeps the length it declares for another method.
    if framing == Framing::None
        && let Some(length) = hop.content_length
        && status != 204
        && status >= 200
    {
        headers.append("content-length", length.to_string());
    }
    if status == 101
        && let Some(protocol) = hop.upgrade_to
    {
        headers.append("upgrade", protocol);
    }
    let keep_alive =
        !hop.close && framing != Framing::Close && (version == Version::Http11 || hop.keep_alive) && status != 101;
    let head = ResponseHead { status, version, headers };
    Ok(Some(Parsed { head, framing, size, keep_alive, expects_continue: false }))
}

fn leading_crlf(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

fn incomplete(bytes: &[u8], limits: Limits) -> Result<(), ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError { status: 431, detail: "headers_too_large" });
    }
    Ok(())
}

fn head_error(error: httparse::Error, bytes: &[u8]) -> ParseError {
    match error {
        httparse::Error::TooManyHeaders => ParseError { status: 431, detail: "too_many_headers" },
        httparse::Error::Version if names_a_version(bytes) => ParseError { status: 505, detail: "http_version" },
        _ => bad("http1.codec_error"),
    }
}

/// Whether a request line is in order but for its version; where it is not, the version is not what is wrong with it.
fn names_a_version(bytes: &[u8]) -> bool {
    let bytes = &bytes[leading_crlf(bytes)..];
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|b| *b == b' ');
    let version = parts.nth(2).and_then(|version| version.strip_prefix(b"HTTP/"));
    let in_order = matches!(version, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit());
    in_order && parts.next().is_none()
}

/// Sorts the connection's own headers from the message's, which go into `headers`.
fn read_headers<'b>(
    fields: &[httparse::Header<'b>],
    headers: &mut Headers,
    request: bool,
) -> Result<Hop<'b>, ParseError> {
    let mut hop = Hop::default();
    for field in fields {
        let name = field.name;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // The length sorts out nearly every header that is not one of these.
        let special = matches!(name.len(), 2 | 4 | 6 | 7 | 10 | 14 | 16 | 17);
        if special {
            if is("connection") {
                connection_header(field.value, &mut hop)?;
                continue;
            } else if is("content-length") {
                content_length(field.value, &mut hop)?;
                continue;
            } else if is("transfer-encoding") {
                transfer_encoding(field.value, &mut hop)?;
                continue;
            } else if is("upgrade") {
                hop.upgrade_to = Some(text(field.value)?.to_ascii_lowercase());
                continue;
            } else if is("te") {
                hop.te_trailers |= text(field.value)?.split(',').any(|t| t.trim().eq_ignore_ascii_case("trailers"));
                continue;
            } else if is("expect") && request {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(ParseError { status: 417, detail: "unknown_expectation" });
                }
                hop.expects_continue = true;
                continue;
            } else if is("host") && request {
                if hop.host.is_some() {
                    return Err(bad("more_than_one_host"));
                }
                hop.host = Some(text(field.value)?);
                continue;
            } else if is("keep-alive") || is("proxy-connection") || is("http2-settings") {
                continue;
            }
        }
        // The parser lets only tokens be names, and no line end or NUL into a value.
        headers.append_read(name.as_bytes(), field.value).map_err(|_| bad("invalid_header"))?;
    }
    for name in std::mem::take(&mut hop.nominated) {
        if name.starts_with("x-forwarded-") || name.starts_with(':') {
            return Err(bad("connection_nominates_a_protected_header"));
        }
        headers.remove(&name);
    }
    Ok(hop)
}

fn text(value: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(value).map_err(|_| bad("invalid_header"))
}

fn connection_header(value: &[u8], hop: &mut Hop<'_>) -> Result<(), ParseError> {
    for option in text(value)?.split(',').map(str::trim) {
        if option.eq_ignore_ascii_case("close") {
            hop.close = true;
        } else if option.eq_ignore_ascii_case("keep-alive") {
            hop.keep_alive = true;
        } else if option.eq_ignore_ascii_case("upgrade") {
            hop.upgrade = true;
        } else if !option.is_empty() && !option.eq_ignore_ascii_case("te") {
            hop.nominated.push(option.to_ascii_lowercase());
        }
    }
    Ok(())
}

fn content_length(value: &[u8], hop: &mut Hop<'_>) -> Result<(), ParseError> {
    if hop.content_length.is_some() {
        return Err(bad("more_than_one_content_length"));
    }
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("content_length_is_no_number"));
    }
    hop.content_length = text(value)?.parse().ok();
    Ok(())
}

fn transfer_encoding(value: &[u8], hop: &mut Hop<'_>) -> Result<(), ParseError> {
    if hop.chunked || !value.eq_ignore_ascii_case(b"chunked") {
        return Err(ParseError { status: 501, detail: "unsupported_transfer_encoding" });
    }
    hop.chunked = true;
    Ok(())
}

fn request_framing(hop: &Hop<'_>, version: Version) -> Result<Framing, ParseError> {
    match (hop.chunked, hop.content_length) {
        (true, Some(_)) => Err(bad("content_length_with_transfer_encoding")),
        (true, None) if version == Version::Http10 => Err(bad("transfer_encoding_in_http10")),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::None),
    }
}

fn response_framing(hop: &Hop<'_>, status: u16, method: &str, version: Version) -> Result<Framing, ParseError> {
    // HTTP/1.0 has no codings: whoever says so has passed on what it did not read (RFC 9112 section 6.1).
    if hop.chunked && version == Version::Http10 {
        return Err(bad("transfer_encoding_in_http10"));
    }
    if hop.chunked && hop.content_length.is_some() {
        return Err(bad("content_length_with_transfer_encoding"));
    }
    if method == "HEAD" || (100..200).contains(&status) || matches!(status, 204 | 304) {
        return Ok(Framing::None);
    }
    if method == "CONNECT" && (200..300).contains(&status) {
        return Ok(Framing::None);
    }
    Ok(match (hop.chunked, hop.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Close,
    })
}

/// Authority and path of a request target (RFC 9112 section 3.2). The absolute form's authority replaces `Host`.
fn target(method: &str, target: &str, host: Option<&str>, version: Version) -> Result<(String, String), ParseError> {
    // Without branches, as in `strict_lines`.
    if !target.bytes().fold(true, |graphic, b| graphic & b.is_ascii_graphic()) {
        return Err(bad("target_is_not_ascii"));
    }
    if host.is_none() && version == Version::Http11 {
        return Err(bad("missing_host"));
    }
    // No http URI has an empty host (RFC 9110 section 4.2.1).
    if host == Some("") && !target.contains("://") {
        return Err(bad("invalid_host"));
    }
    let host = host.unwrap_or_default();
    if !valid_authority(host) {
        return Err(bad("invalid_host"));
    }
    if method == "CONNECT" {
        let port = target.rsplit_once(':').map(|(_, port)| port);
        if !valid_authority(target) || target.is_empty() || port.is_none_or(|port| port.parse::<u16>().is_err()) {
            return Err(bad("invalid_connect_target"));
        }
        return Ok((target.to_owned(), String::new()));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((host.to_owned(), target.to_owned()));
    }
    let scheme_end = target.find("://").ok_or_else(|| bad("invalid_target"))?;
    if !matches!(target[..scheme_end].to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(bad("invalid_target_scheme"));
    }
    let rest = &target[scheme_end + 3..];
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.is_empty() || !valid_authority(authority) {
        return Err(bad("invalid_target_authority"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((authority.to_owned(), path))
}

/// Host and optional port, without userinfo or anything a path could hide in (RFC 9110 section 7.2).
pub fn valid_authority(text: &str) -> bool {
    if text.bytes().all(is_of_name) {
        return true;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if port.is_some_and(|port| host.is_empty() || !is_port(port)) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[') {
        return v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let escaped = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    host.bytes().enumerate().all(|(at, byte)| match byte {
        b'%' => escaped(&host.as_bytes()[at + 1..]),
        byte => is_of_name(byte),
    })
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'*')
}
