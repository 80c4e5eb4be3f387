//! The load: connections that ask again as soon as they are answered, or at a given rate whatever happens; each on one
//! thread, and none that costs more than the proxy it measures. HTTP/2 is left to h2load.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

use crate::histogram::Histogram;
use crate::measure;
use crate::peers::{Bench, Running};
use crate::scenario::{Inbound, PATH, Scenario, Unit};

type Fallible<T> = crate::Fallible<T>;

/// What a generator is to do.
#[derive(Default, Serialize, Deserialize)]
pub struct Order {
    pub address: Option<SocketAddr>,
    pub connections: usize,
    pub seconds: f64,
    pub path: String,
    pub body: usize,
    /// A connection for each request.
    pub fresh: bool,
    /// Requests a second; `None` is as many as go.
    pub rate: Option<f64>,
    /// One request each, then nothing until the standard input ends.
    pub idle: bool,
    pub root: Option<String>,
    pub certificate: Option<(String, String)>,
    pub processes: Vec<u32>,
}

/// What came of it. Latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub requests: u64,
    pub errors: u64,
    pub seconds: f64,
    pub bytes: u64,
    pub cpu_seconds: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Figures {
    /// CPU microseconds per request, or CPU seconds per GiB.
    pub fn cost(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Request => self.cpu_seconds * 1e6 / self.requests.max(1) as f64,
            Unit::Gibibyte => self.cpu_seconds / (self.bytes.max(1) as f64 / f64::from(1 << 30)),
        }
    }
}

/// Has a generator load a proxy.
pub fn generate(
    bench: &Bench,
    mut command: Command,
    scenario: &Scenario,
    to: &Running,
    time: Duration,
    rate: Option<f64>,
) -> Fallible<Figures> {
    let order = Order {
        address: Some(to.address),
        connections: scenario.connections,
        seconds: time.as_secs_f64(),
        path: scenario.path.to_owned(),
        body: scenario.body,
        fresh: scenario.fresh,
        rate,
        processes: to.processes(),
        ..order_tls(bench, scenario.inbound)
    };
    command.arg(std::env::current_exe()?).arg("load").arg(serde_json::to_string(&order)?);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the load ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub fn order_tls(bench: &Bench, inbound: Inbound) -> Order {
    let path = |name| bench.certificates.path(name);
    Order {
        root: matches!(inbound, Inbound::Tls | Inbound::MutualTls).then(|| path("ca.pem")),
        certificate: (inbound == Inbound::MutualTls).then(|| (path("client.pem"), path("client.key"))),
        ..Order::default()
    }
}

/// HTTP/2 by h2load: eight connections with sixteen streams each.
pub fn h2load(bench: &Bench, command: Command, scenario: &Scenario, to: &Running, time: Duration) -> Fallible<Figures> {
    let log = bench.directory().join("h2load.log");
    let _ = std::fs::remove_file(&log);
    let grpc = scenario.path.ends_with("/grpc");
    let mut command = command;
    command.arg("h2load").arg(format!("http://{}{}", to.address, scenario.path));
    command.args(["-t", "1", "-c", "8", "-m", "16", "-H", ":authority: svc.default", "-H", "x-route: canary"]);
    command.args(["-D", &time.as_secs().max(1).to_string(), "--warm-up-time", "1"]).arg("--log-file").arg(&log);
    if grpc {
        let body = bench.directory().join("message");
        std::fs::write(&body, [&[0, 0, 0, 0, 59][..], &[b'g'; 59]].concat())?;
        command.arg("-d").arg(body).args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    }
    let child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("h2load: {error}"))?;
    std::thread::sleep(Duration::from_secs(1));
    let cpu = |processes: &[u32]| processes.iter().map(|process| measure::cpu_nanoseconds(*process)).sum::<u64>();
    let (before, from) = (cpu(&to.processes()), Instant::now());
    let output = child.wait_with_output()?;
    let (used, seconds) = (cpu(&to.processes()) - before, from.elapsed().as_secs_f64());
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |after: &str, before: &str| -> u64 {
        let part = text.split(after).nth(1).and_then(|rest| rest.split(before).next());
        part.and_then(|part| part.rsplit([' ', ',']).find(|word| !word.is_empty())?.parse().ok()).unwrap_or(0)
    };
    // Statuses are counted as heads arrive, requests as they end: only what failed can be told from their difference.
    let (requests, failed) = (number("requests:", " succeeded"), number("requests:", " failed"));
    let mut histogram = Histogram::new();
    for line in std::fs::read_to_string(&log).unwrap_or_default().lines() {
        if let Some(Ok(latency)) = line.split('\t').nth(2).map(str::parse) {
            histogram.add(latency);
        }
    }
    Ok(Figures {
        requests,
        errors: failed + number("status codes:", " 3xx"),
        seconds,
        bytes: 0,
        cpu_seconds: used as f64 / 1e9,
        p50: histogram.quantile(0.5),
        p90: histogram.quantile(0.9),
        p99: histogram.quantile(0.99),
        p999: histogram.quantile(0.999),
    })
}

/// What all connections share.
struct State {
    order: Order,
    request: Vec<u8>,
    tls: Option<TlsConnector>,
    measuring: Cell<bool>,
    latencies: RefCell<Histogram>,
    requests: Cell<u64>,
    bytes: Cell<u64>,
    errors: Cell<u64>,
    /// When requests were due that no connection was free for.
    due: RefCell<VecDeque<Instant>>,
    free: Notify,
    primed: Cell<usize>,
    /// How many idle connections may be opened at a time.
    opening: Semaphore,
}

/// `load ORDER`
pub fn run(arguments: &[String]) -> Fallible<()> {
    let order: Order = serde_json::from_str(&arguments[0])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(order))
}

async fn drive(order: Order) -> Fallible<()> {
    let (method, length) = match order.body {
        0 => ("GET", String::new()),
        length => ("POST", format!("content-length: {length}\r\n")),
    };
    let closes = if order.fresh { "connection: close\r\n" } else { "" };
    let path = if order.path.is_empty() { PATH } else { &order.path };
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: svc.default\r\nuser-agent: bench\r\naccept: */*\r\nx-route: canary\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx-forwarded-for: 10.1.2.3\r\n\
         accept-encoding: gzip\r\n{closes}{length}\r\n"
    )
    .into_bytes();
    request.resize(request.len() + order.body, b'p');
    let state = Rc::new(State {
        tls: connector(&order)?,
        order,
        request,
        measuring: Cell::new(false),
        latencies: RefCell::new(Histogram::new()),
        requests: Cell::new(0),
        bytes: Cell::new(0),
        errors: Cell::new(0),
        due: RefCell::default(),
        free: Notify::new(),
        primed: Cell::new(0),
        opening: Semaphore::new(64),
    });
    for _ in 0..state.order.connections {
        tokio::task::spawn_local(connection(Rc::clone(&state)));
    }
    if state.order.idle {
        return hold(&state).await;
    }
    if let Some(rate) = state.order.rate {
        tokio::task::spawn_local(pace(Rc::clone(&state), rate));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    state.measuring.set(true);
    let cpu = || state.order.processes.iter().map(|process| measure::cpu_nanoseconds(*process)).sum::<u64>();
    let (before, from) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(state.order.seconds)).await;
    let (used, seconds) = (cpu() - before, from.elapsed().as_secs_f64());
    let latencies = state.latencies.borrow();
    let figures = Figures {
        requests: state.requests.get(),
        errors: state.errors.get(),
        seconds,
        bytes: state.bytes.get(),
        cpu_seconds: used as f64 / 1e9,
        p50: latencies.quantile(0.5),
        p90: latencies.quantile(0.9),
        p99: latencies.quantile(0.99),
        p999: latencies.quantile(0.999),
    };
    serde_json::to_writer(std::io::stdout(), &figures)?;
    // Connections go with the process.
    std::process::exit(0);
}

/// Tells when every connection had its answer, and holds them until the standard input ends.
async fn hold(state: &Rc<State>) -> Fallible<()> {
    while state.primed.get() < state.order.connections {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("ready");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().count()).await?;
    std::process::exit(0);
}

fn connector(order: &Order) -> Fallible<Option<TlsConnector>> {
    let Some(root) = &order.root else { return Ok(None) };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(root)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match &order.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// Requests come at random, independent of the answers (a Poisson process). A thread keeps the time, finer than the
/// runtime's timers do.
async fn pace(state: Rc<State>, rate: f64) {
    let (sender, mut due) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut next = Instant::now();
        let mut bits = 88_172_645_463_325_252_u64;
        loop {
            std::thread::sleep(Duration::from_micros(50));
            let now = Instant::now();
            while next <= now {
                if sender.send(next).is_err() {
                    return;
                }
                bits ^= bits << 13;
                bits ^= bits >> 7;
                bits ^= bits << 17;
                let share = (bits >> 11) as f64 / (1_u64 << 53) as f64;
                next += Duration::from_secs_f64(-(1.0 - share).ln() / rate);
            }
        }
    });
    while let Some(due) = due.recv().await {
        state.due.borrow_mut().push_back(due);
        state.free.notify_one();
    }
}

impl State {
    /// When the next request is due.
    async fn turn(&self) -> Instant {
        if self.order.rate.is_none() {
            return Instant::now();
        }
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return due;
            }
            self.free.notified().await;
        }
    }

    fn done(&self, since: Instant, bytes: usize) {
        if self.measuring.get() {
            self.requests.set(self.requests.get() + 1);
            self.bytes.set(self.bytes.get() + bytes as u64);
            self.latencies.borrow_mut().add(since.elapsed().as_micros() as u64);
        }
    }
}

async fn connection(state: Rc<State>) {
    loop {
        let since = state.turn().await;
        if let Err(error) = serve(&state, since).await {
            state.errors.set(state.errors.get() + 1);
            if state.errors.get() == 1 {
                eprintln!("a request failed: {error}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn serve(state: &State, since: Instant) -> Fallible<()> {
    let opening = if state.order.idle { Some(state.opening.acquire().await?) } else { None };
    let tcp = TcpStream::connect(state.order.address.ok_or("no address")?).await?;
    tcp.set_nodelay(true)?;
    if state.order.fresh {
        // Otherwise the ports are used up within seconds.
        tcp.set_zero_linger()?;
    }
    match &state.tls {
        None => requests(state, tcp, since, opening).await,
        Some(tls) => {
            let stream = tls.connect(ServerName::try_from("svc.default")?, tcp).await?;
            requests(state, stream, since, opening).await
        }
    }
}

async fn requests(
    state: &State,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    mut since: Instant,
    opening: Option<SemaphorePermit<'_>>,
) -> Fallible<()> {
    let mut buffer = vec![0; if state.order.idle { 2048 } else { 256 * 1024 }];
    loop {
        io.write_all(&state.request).await?;
        io.flush().await?;
        let bytes = answer(state, &mut io, &mut buffer).await?;
        if state.order.idle {
            drop((std::mem::take(&mut buffer), opening));
            state.primed.set(state.primed.get() + 1);
            return std::future::pending().await;
        }
        state.done(since, bytes);
        if state.order.fresh {
            return Ok(());
        }
        since = state.turn().await;
    }
}

/// Reads one answer; gives the bytes of its body. Those of a long one count as they come.
async fn answer(state: &State, io: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Fallible<usize> {
    let mut filled = 0;
    let (end, length) = loop {
        match io.read(&mut buffer[filled..]).await? {
            0 => return Err("closed".into()),
            n => filled += n,
        }
        let Some(end) = buffer[..filled].windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.to_owned().into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        break (end + 4, length.ok_or("no content-length")?);
    };
    let mut left = (end + length).checked_sub(filled).ok_or("more than was announced")?;
    while left > 0 {
        match io.read(buffer).await? {
            0 => return Err("cut".into()),
            n if length > 1 << 20 && state.measuring.get() => {
                state.bytes.set(state.bytes.get() + n as u64);
                left -= n;
            }
            n => left -= n,
        }
    }
    Ok(if length > 1 << 20 { 0 } else { length })
}
