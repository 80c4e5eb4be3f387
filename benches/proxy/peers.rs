//! The programs that are measured, and the ones that measure.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;

use crate::bootstrap::Place;
use crate::certificates::Certificates;
use crate::load::Figures;
use crate::scenario::{Inbound, Protocol, Scenario};
use crate::{Fallible, load};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    Envoy,
    Weft,
    /// Copies bytes and looks at none.
    Relay,
}

impl Peer {
    /// Those that can take part. What a relay does for TLS is not the same work.
    pub fn of(scenario: &Scenario) -> Vec<Self> {
        match scenario.inbound {
            Inbound::Plain => vec![Self::Envoy, Self::Weft, Self::Relay],
            _ => vec![Self::Envoy, Self::Weft],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Weft => "weft",
            Self::Relay => "relay",
        }
    }
}

/// The core of the load and the upstream, and the core of the proxy.
const LOAD_CORE: &str = "0";
const PROXY_CORE: &str = "1";

pub struct Bench {
    directory: TempDir,
    pub certificates: Certificates,
    envoy: PathBuf,
}

/// A program under measure; it ends when this is dropped.
pub struct Running {
    pub address: SocketAddr,
    processes: Vec<Process>,
}

impl Running {
    pub fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.0.id()).collect()
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    pub fn new() -> Fallible<Self> {
        let directory = tempfile::tempdir()?;
        let certificates = Certificates::make(directory.path())?;
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let installed = root.join("target/test-venv/bin/envoy");
        let envoy = std::env::var_os("ENVOY").map_or(installed, PathBuf::from);
        if !envoy.exists() {
            return Err(format!("there is no Envoy at {}; `make bench` installs it", envoy.display()).into());
        }
        Ok(Self { directory, certificates, envoy })
    }

    /// What answers the requests of a scenario. HTTP/2 is answered by nginx, HTTP/1.1 by this program.
    pub fn upstream(&self, scenario: &Scenario) -> Fallible<Running> {
        let address = if scenario.protocol == Protocol::Http2 { H2_UPSTREAM } else { UPSTREAM };
        let mut command = pinned(LOAD_CORE);
        if scenario.protocol == Protocol::Http2 {
            let file = self.directory.path().join("nginx.conf");
            std::fs::write(&file, nginx(address, &self.directory.path().join("nginx.pid").display().to_string()))?;
            command.arg("nginx").arg("-c").arg(file);
        } else {
            command.arg(std::env::current_exe()?).args(["upstream", &address.to_string()]);
        }
        Ok(Running { address, processes: vec![started(command, address)?] })
    }

    /// Starts one peer, or a pair of it.
    pub fn start(&self, peer: Peer, scenario: &Scenario) -> Fallible<Running> {
        let upstream = if scenario.protocol == Protocol::Http2 { H2_UPSTREAM } else { UPSTREAM };
        let front = free_port()?;
        let place = |listen, upstream, tls_in, tls_out| Place { scenario, listen, upstream, tls_in, tls_out };
        let places = match scenario.inbound {
            Inbound::Plain => vec![place(front, upstream, None, false)],
            Inbound::Tls => vec![place(front, upstream, Some(false), false)],
            Inbound::MutualTls => vec![place(front, upstream, Some(true), false)],
            Inbound::Pair => {
                let back = free_port()?;
                vec![place(back, upstream, Some(true), false), place(front, back, None, true)]
            }
        };
        let mut processes = Vec::new();
        for place in places {
            processes.push(started(self.command(peer, &place)?, place.listen)?);
        }
        Ok(Running { address: front, processes })
    }

    fn command(&self, peer: Peer, place: &Place<'_>) -> Fallible<Command> {
        if peer == Peer::Relay {
            let mut command = pinned(PROXY_CORE);
            let ends = [place.listen.to_string(), place.upstream.to_string()];
            command.arg(std::env::current_exe()?).arg("relay").args(ends);
            return Ok(command);
        }
        let file = self.directory.path().join(format!("{}-{}.json", peer.name(), place.listen.port()));
        std::fs::write(&file, place.bootstrap(&self.certificates).to_string())?;
        Ok(self.proxy(peer, &file))
    }

    /// Envoy or weft on one worker with that file.
    pub fn proxy(&self, peer: Peer, file: &std::path::Path) -> Command {
        let mut command = pinned(PROXY_CORE);
        match peer {
            Peer::Envoy => command.arg(&self.envoy).args(["--disable-hot-restart", "-l", "error", "-c"]).arg(file),
            _ => command.arg(env!("CARGO_BIN_EXE_weft")).args(["proxy", "-c"]).arg(file),
        };
        command.args(["--concurrency", "1"]);
        command
    }

    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Loads a proxy for a while; `rate` is requests a second, or as many as go.
    pub fn load(&self, scenario: &Scenario, to: &Running, time: Duration, rate: Option<f64>) -> Fallible<Figures> {
        match scenario.protocol {
            Protocol::Http2 => load::h2load(self, pinned(LOAD_CORE), scenario, to, time),
            _ => load::generate(self, pinned(LOAD_CORE), scenario, to, time, rate),
        }
    }
}

const UPSTREAM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19_900);
const H2_UPSTREAM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19_901);

fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub fn free_port() -> Fallible<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Starts a program and waits until it listens.
pub fn started_at(command: Command, address: SocketAddr) -> Fallible<Running> {
    Ok(Running { address, processes: vec![started(command, address)?] })
}

fn started(mut command: Command, address: SocketAddr) -> Fallible<Process> {
    let mut process = Process(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
    let patience = Instant::now() + Duration::from_secs(120);
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.0.try_wait()? {
            return Err(format!("{command:?} ended with {status}").into());
        }
        if Instant::now() > patience {
            return Err(format!("{command:?} does not listen on {address}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(process)
}

fn nginx(listen: SocketAddr, pid: &str) -> String {
    let (small, message) = ("x".repeat(1024), "y".repeat(64));
    format!(
        "worker_processes 1; pid {pid}; error_log /dev/null crit; daemon off; master_process off;\n\
         events {{ worker_connections 8000; }}\n\
         http {{ access_log off; tcp_nodelay on; keepalive_timeout 600s; keepalive_requests 1000000000;\n\
         http2_max_concurrent_streams 1000; default_type text/plain;\n\
         server {{ listen {listen} http2 backlog=4096; location / {{ return 200 \"{small}\"; }}\n\
         location /api/v1/grpc {{ return 200 \"{message}\"; }} }} }}\n"
    )
}
