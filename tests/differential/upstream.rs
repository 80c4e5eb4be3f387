//! The upstreams of one side: each notes what reaches it and answers as the script says.

mod http1;
mod http2;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, Told};
use crate::certificates::Certificates;
use crate::corpus::Bootstrap;
use crate::observed::body_lines;
use crate::side::PATIENCE;

/// HTTP by what is said first; `tcp` says back what it hears.
const PLAIN: [&str; 4] = ["a", "b", "c", "tcp"];
const TLS: [&str; 1] = ["tls_a"];

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Upstreams {
    ports: BTreeMap<u16, String>,
    notes: Arc<Notes>,
}

/// What came, and what is to be answered.
#[derive(Default)]
pub struct Notes {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    seen: Vec<Seen>,
    /// Requests and connections that are not at their end.
    busy: usize,
    /// Requests that came to nobody's script are not noted.
    silent: bool,
}

/// A request, or the bytes of a connection that is no HTTP.
#[derive(Default)]
pub struct Seen {
    pub upstream: String,
    pub lines: Vec<String>,
    pub body: Vec<u8>,
    pub trailers: Vec<String>,
    pub end: &'static str,
}

/// A request that is being served.
pub struct Serving {
    notes: Arc<Notes>,
    at: Option<usize>,
}

impl Notes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn request(self: &Arc<Self>, upstream: &str, lines: Vec<String>) -> (Serving, Told) {
        let mut state = self.state();
        state.busy += 1;
        // Health checks come by a clock of their own, not by the script.
        let silent = state.silent || lines.iter().any(|line| line == "user-agent: Envoy/HC");
        let at = (!silent).then_some(state.seen.len());
        let answer = if silent { None } else { state.answers.pop_front() };
        if at.is_some() {
            let upstream = upstream.to_owned();
            state.seen.push(Seen { upstream, lines, end: " (cut)", ..Seen::default() });
        }
        self.changed.notify_waiters();
        (Serving { notes: Arc::clone(self), at }, Answer::told(answer, upstream))
    }

    /// Waits until something holds, but not for ever.
    async fn until(&self, holds: impl Fn(&State) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if holds(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.is_ok()
    }
}

impl Serving {
    pub fn note(&self, change: impl FnOnce(&mut Seen)) {
        let mut state = self.notes.state();
        if let Some(seen) = self.at.and_then(|at| state.seen.get_mut(at)) {
            change(seen);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.notes.state().busy -= 1;
        self.notes.changed.notify_waiters();
    }
}

impl Upstreams {
    pub async fn start(certificates: &Certificates) -> Self {
        let notes = Arc::new(Notes::default());
        let mut ports = BTreeMap::new();
        for name in PLAIN.into_iter().chain(TLS) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.insert(listener.local_addr().unwrap().port(), name.to_owned());
            let tls = TLS.contains(&name).then(|| TlsAcceptor::from(certificates.server()));
            tokio::spawn(accept(listener, name, tls, Arc::clone(&notes)));
        }
        Self { ports, notes }
    }

    pub fn ports(&self) -> &BTreeMap<u16, String> {
        &self.ports
    }

    pub fn begin(&self, answers: &[Answer]) {
        let mut state = self.notes.state();
        state.answers = answers.iter().cloned().collect();
        state.seen.clear();
        state.silent = false;
    }

    /// From here on requests are answered, and not noted.
    pub fn silence(&self) {
        self.notes.state().silent = true;
    }

    /// Waits for so many requests of the script.
    pub async fn have(&self, count: usize) -> bool {
        self.notes.until(|state| state.seen.len() >= count).await
    }

    /// Waits until nothing is under way; what came.
    pub async fn end(&self, least: usize, bootstrap: &Bootstrap, observed: &mut Vec<String>) {
        let settled = self.notes.until(|state| state.busy == 0 && state.seen.len() >= least).await;
        let mut seen = std::mem::take(&mut self.notes.state().seen);
        self.silence();
        for one in seen.iter_mut().filter(|one| Some(&one.upstream) == bootstrap.opaque.as_ref()) {
            one.body.clear();
        }
        let called = if bootstrap.alias { alias(&mut seen) } else { Vec::new() };
        let mut requests: Vec<Vec<String>> = seen.iter().map(Seen::lines).collect();
        if bootstrap.sort {
            requests.sort();
        }
        let mut lines: Vec<String> = requests.into_iter().flatten().collect();
        for line in observed.iter_mut() {
            for (at, name) in called.iter().enumerate() {
                *line = line.replace(&format!("x-upstream: {name}"), &format!("x-upstream: {at}"));
                *line = line.replace(&format!("this is {name}"), &format!("this is {at}"));
            }
        }
        if !settled {
            lines.push("an upstream is not at its end".to_owned());
        }
        observed.append(&mut lines);
    }
}

/// Calls upstreams by the order in which they came; their names in that order.
fn alias(seen: &mut [Seen]) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for one in seen {
        let at = known.iter().position(|name| *name == one.upstream).unwrap_or_else(|| {
            known.push(one.upstream.clone());
            known.len() - 1
        });
        one.upstream = format!("upstream {at}");
    }
    known
}

impl Seen {
    fn lines(&self) -> Vec<String> {
        let mark = format!("{} >", self.upstream);
        let mut lines: Vec<String> = self.lines.iter().map(|line| format!("{mark} {line}")).collect();
        lines.extend(body_lines(&mark, &self.body));
        lines.extend(self.trailers.iter().map(|line| format!("{mark} trailer {line}")));
        lines.push(format!("{mark}{}", self.end));
        lines
    }
}

async fn accept(listener: TcpListener, name: &'static str, tls: Option<TlsAcceptor>, notes: Arc<Notes>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (tls, notes) = (tls.clone(), Arc::clone(&notes));
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    let control = socket2::SockRef::from(&stream).try_clone().unwrap();
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(Box::new(stream), control, name, notes).await;
                    }
                }
                None => {
                    let control = socket2::SockRef::from(&stream).try_clone().unwrap();
                    serve(Box::new(stream), control, name, notes).await;
                }
            }
        });
    }
}

async fn serve(mut stream: Box<dyn Stream>, control: socket2::Socket, name: &'static str, notes: Arc<Notes>) {
    if name == "tcp" {
        return echo(stream, name, &notes).await;
    }
    let mut first = Vec::new();
    while first.len() < 3 {
        let mut piece = vec![0; 4096];
        match stream.read(&mut piece).await {
            Ok(n) if n > 0 => first.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    match first.starts_with(b"PRI") {
        true => http2::serve(first, stream, name, notes).await,
        false => http1::serve(first, stream, control, name, notes).await,
    }
}

/// Says back what it hears.
async fn echo(mut stream: Box<dyn Stream>, name: &str, notes: &Arc<Notes>) {
    let mut bytes = vec![0; 65536];
    let mut serving = None;
    loop {
        let read = stream.read(&mut bytes).await;
        if serving.is_none() && !matches!(read, Ok(n) if n > 0) {
            // Somebody only looked whether the proxy is there.
            return;
        }
        let serving = serving.get_or_insert_with(|| notes.request(name, Vec::new()).0);
        match read {
            Ok(0) => return serving.note(|seen| seen.end = " (end)"),
            Err(_) => return serving.note(|seen| seen.end = " (reset)"),
            Ok(n) => {
                serving.note(|seen| seen.body.extend_from_slice(&bytes[..n]));
                if stream.write_all(&bytes[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A connection that ends here: nothing is lost by an early close.
pub async fn close(mut stream: Box<dyn Stream>) {
    let _ = stream.shutdown().await;
    let mut rest = vec![0; 4096];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
}

pub fn reset(control: &socket2::Socket) {
    let _ = control.set_linger(Some(std::time::Duration::ZERO));
}

/// The stream after bytes that were read already.
pub struct Rewound {
    pub first: VecDeque<u8>,
    pub stream: Box<dyn Stream>,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return std::pin::Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = buf.remaining().min(self.first.len());
        let bytes: Vec<u8> = self.first.drain(..n).collect();
        buf.put_slice(&bytes);
        std::task::Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
