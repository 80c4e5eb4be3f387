//! The client of one script: sends bytes as they stand there, and notes what comes back and how it ends.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::certificates::Certificates;
use crate::corpus::{Bootstrap, Over, Run, Script, Step};
use crate::http2;
use crate::observed::{Observed, body_lines, head_lines};
use crate::side::{PATIENCE, Side};
use crate::upstream::{Stream, reset};

/// A client's address. Of one that comes from 127.0.0.1, Envoy says that it comes from the machine's own address.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

async fn connect(to: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Plays a script; the client's port.
pub async fn play(
    side: &Side,
    bootstrap: &Bootstrap,
    run: Run<'_>,
    certificates: &Certificates,
    observed: &mut Observed,
) -> u16 {
    let stream = match connect(side.listen, run.script.from.unwrap_or(NEIGHBOUR)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            // It was taken, and ended before this side looked.
            observed.lines.push("= closed".to_owned());
            return 0;
        }
        Err(error) => {
            observed.lines.push(format!("= no connection: {error}"));
            return 0;
        }
    };
    let port = stream.local_addr().unwrap().port();
    let control = socket2::SockRef::from(&stream).try_clone().unwrap();
    let tls = run.script.tls.as_ref().or(bootstrap.tls.as_ref());
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let mut tls = tls.clone();
            if run.over == Over::Http2 {
                tls.alpn = vec!["h2".to_owned()];
            }
            let connector = tokio_rustls::TlsConnector::from(certificates.client(&tls));
            let name = ServerName::try_from(tls.sni.clone()).unwrap();
            match connector.connect(name, stream).await {
                Ok(stream) => {
                    let (_, session) = stream.get_ref();
                    let protocol = session.alpn_protocol().map(<[u8]>::escape_ascii);
                    let protocol = protocol.map_or("no protocol".to_owned(), |name| name.to_string());
                    observed.lines.push(format!("tls {protocol}"));
                    Box::new(stream)
                }
                Err(error) => {
                    observed.lines.push(format!("tls failed: {error}"));
                    return port;
                }
            }
        }
    };
    match run.over {
        Over::Http2 => http2::play(side, stream, run.script, observed).await,
        Over::Http1 => {
            let mut client = Client { stream, buf: Vec::new(), methods: Vec::new(), observed, closes: false };
            client.play(side, run.script, &control).await;
        }
    }
    port
}

struct Client<'a> {
    stream: Box<dyn Stream>,
    buf: Vec<u8>,
    /// Of the requests that have no answer yet, oldest first.
    methods: Vec<String>,
    observed: &'a mut Observed,
    /// Whether the answer says, or shows, that the connection ends.
    closes: bool,
}

/// The connection is at its end, or silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    Reset,
    Silent,
}

impl Ended {
    fn line(self) -> String {
        match self {
            Self::Closed => "= closed",
            Self::Reset => "= reset",
            Self::Silent => "= nothing came",
        }
        .to_owned()
    }
}

type Answered = Result<(), Ended>;

impl Client<'_> {
    async fn play(&mut self, side: &Side, script: &Script, control: &socket2::Socket) {
        let ended = self.steps(side, script, control).await;
        let ended = match ended {
            Ok(true) => return,
            Ok(false) => self.fate(side, script).await,
            Err(ended) => ended.line(),
        };
        self.observed.lines.push(ended);
    }

    /// `true`: what becomes of the connection is not asked.
    async fn steps(&mut self, side: &Side, script: &Script, control: &socket2::Socket) -> Result<bool, Ended> {
        if let Some(head) = &script.request {
            self.request(head, script.body.as_deref().unwrap_or_default()).await;
        }
        let mut asked = script.steps.is_empty();
        for step in &script.steps {
            match step {
                Step::Request(head) => self.request(head, "").await,
                Step::Raw(text) => self.raw(text.as_bytes()).await,
                Step::Response => self.response().await?,
                Step::Head => drop(self.head().await?),
                Step::Bytes(count) => self.bytes(*count).await?,
                Step::End => {
                    self.rest_of_answer().await?;
                    return Ok(true);
                }
                Step::Upstream => {
                    if !side.upstreams.have(1).await {
                        self.observed.lines.push("= no upstream was reached".to_owned());
                    }
                }
                Step::HalfClose => drop(self.stream.shutdown().await),
                Step::Reset => {
                    reset(control);
                    return Ok(true);
                }
            }
            asked = !matches!(step, Step::Response | Step::Head | Step::Bytes(_));
        }
        while asked && !self.methods.is_empty() {
            self.response().await?;
        }
        if asked && script.request.is_none() && script.steps.iter().all(|step| !matches!(step, Step::Request(_))) {
            self.methods.push("GET".to_owned());
            self.response().await?;
        }
        Ok(false)
    }

    async fn raw(&mut self, bytes: &[u8]) {
        // A proxy that has closed already is seen by what it sent before.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    async fn request(&mut self, head: &str, body: &str) {
        self.methods.push(head.split(' ').next().unwrap_or_default().to_owned());
        self.raw(format!("{}\r\n{body}", head.replace('\n', "\r\n")).as_bytes()).await;
    }

    async fn fill(&mut self) -> Answered {
        let mut piece = vec![0; 65536];
        match timeout(PATIENCE, self.stream.read(&mut piece)).await {
            Err(_) => Err(Ended::Silent),
            Ok(Ok(0)) => Err(Ended::Closed),
            Ok(Ok(n)) => {
                self.buf.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Err(Ended::Closed),
            Ok(Err(_)) => Err(Ended::Reset),
        }
    }

    async fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Ended> {
        loop {
            if let Some(at) = self.buf.windows(mark.len()).position(|window| window == mark) {
                let mut line: Vec<u8> = self.buf.drain(..at + mark.len()).collect();
                line.truncate(at);
                return Ok(line);
            }
            if let Err(ended) = self.fill().await {
                let rest = std::mem::take(&mut self.buf);
                self.observed.lines.extend(body_lines("< (cut)", &rest));
                return Err(ended);
            }
        }
    }

    async fn bytes(&mut self, count: usize) -> Answered {
        while self.buf.len() < count {
            self.fill().await?;
        }
        let bytes: Vec<u8> = self.buf.drain(..count).collect();
        self.observed.lines.extend(body_lines("<", &bytes));
        Ok(())
    }

    async fn rest_of_answer(&mut self) -> Answered {
        loop {
            if let Err(ended) = self.fill().await {
                let rest = std::mem::take(&mut self.buf);
                self.observed.lines.extend(body_lines("<", &rest));
                self.observed.lines.push(ended.line());
                return Ok(());
            }
        }
    }

    /// The head of the next answer; its status and fields.
    async fn head(&mut self) -> Result<(u16, Vec<(String, String)>), Ended> {
        let head = self.until(b"\r\n\r\n").await?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields: Vec<_> = lines.map(crate::answer::field).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        self.observed.lines.extend(head_lines("<", &first, fields.clone()));
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Ok((status, fields))
    }

    async fn response(&mut self) -> Answered {
        let (status, fields) = loop {
            let (status, fields) = self.head().await?;
            if !(100..200).contains(&status) || status == 101 {
                break (status, fields);
            }
        };
        let method = if self.methods.is_empty() { "GET".to_owned() } else { self.methods.remove(0) };
        let value =
            |name: &str| fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let tunnel = status == 101 || (method == "CONNECT" && status == 200);
        if tunnel || method == "HEAD" || matches!(status, 204 | 304) {
            return Ok(());
        }
        let mut body = Vec::new();
        let outcome = if value("transfer-encoding").is_some() {
            self.chunks(&mut body).await
        } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
            self.length(length, &mut body).await
        } else {
            self.closes = true;
            self.rest(&mut body).await
        };
        self.observed.lines.extend(body_lines("<", &body));
        if let Ok(trailers) = &outcome {
            self.observed.lines.extend(trailers.iter().map(|line| format!("< trailer {line}")));
        }
        outcome.map(drop)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Result<Vec<String>, Ended> {
        loop {
            let size = self.until(b"\r\n").await?;
            let size = usize::from_str_radix(&String::from_utf8_lossy(&size), 16).unwrap_or_default();
            if size == 0 {
                break;
            }
            self.length(size, body).await?;
            self.until(b"\r\n").await?;
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            if line.is_empty() {
                return Ok(trailers);
            }
            trailers.push(String::from_utf8_lossy(&line).into_owned());
        }
    }

    async fn length(&mut self, length: usize, body: &mut Vec<u8>) -> Result<Vec<String>, Ended> {
        while self.buf.len() < length {
            if let Err(ended) = self.fill().await {
                body.append(&mut self.buf);
                return Err(ended);
            }
        }
        body.extend(self.buf.drain(..length));
        Ok(Vec::new())
    }

    async fn rest(&mut self, body: &mut Vec<u8>) -> Result<Vec<String>, Ended> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(Ended::Closed) => {
                    body.append(&mut self.buf);
                    return Ok(Vec::new());
                }
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Whether another request would be answered.
    async fn fate(&mut self, side: &Side, script: &Script) -> String {
        side.upstreams.have(script.upstream_requests).await;
        side.upstreams.silence();
        if !self.buf.is_empty() {
            let rest = std::mem::take(&mut self.buf);
            self.observed.lines.extend(body_lines("< (more)", &rest));
        }
        if !self.closes {
            self.raw(b"GET /probe HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        }
        match (self.fill().await, self.closes) {
            (Ok(()), false) => "= open".to_owned(),
            (Ok(()), true) => "= says it closes, and sends on".to_owned(),
            // The probe may meet a connection that is closed already.
            (Err(Ended::Reset), false) => "= closed".to_owned(),
            (Err(ended), _) => ended.line(),
        }
    }
}
