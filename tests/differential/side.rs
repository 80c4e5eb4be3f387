//! One of the two sides: a proxy with upstreams of its own, and all scripts of a bootstrap run through it, one after
//! another.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::certificates::Certificates;
use crate::client;
use crate::corpus::{Bootstrap, Run};
use crate::observed::{Observed, rename_ports};
use crate::proxies::{Program, Proxy};
use crate::upstream::Upstreams;

/// What is waited for comes at once or not at all; a busy machine may hold either side up for seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Side {
    pub listen: SocketAddr,
    pub upstreams: Upstreams,
    ports: BTreeMap<u16, String>,
    log: Option<PathBuf>,
    lines_logged: usize,
}

pub async fn run(
    program: Program,
    bootstrap: &Bootstrap,
    scripts: &[Run<'_>],
    certificates: &Certificates,
) -> Vec<Observed> {
    let dir = TempDir::new().unwrap();
    let upstreams = Upstreams::start(certificates).await;
    let mut ports: BTreeMap<u16, String> = upstreams.ports().clone();
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    ports.insert(dead.local_addr().unwrap().port(), "dead".to_owned());
    let mut listens = Vec::new();
    for name in ["listen", "listen2"].into_iter().filter(|name| bootstrap.text.contains(&format!("{{{{{name}}}}}"))) {
        let address = free_address();
        ports.insert(address.port(), name.to_owned());
        listens.push(address);
    }
    let file = dir.path().join("bootstrap.yaml");
    std::fs::write(&file, fill(bootstrap, &ports, dir.path().to_str().unwrap(), certificates)).unwrap();
    let mut proxy = Proxy::start(program, &file, &listens).await;
    let mut side = Side {
        listen: listens[0],
        upstreams,
        ports,
        log: bootstrap.logs.then(|| dir.path().join("access.log")),
        lines_logged: 0,
    };
    let mut all = Vec::new();
    for script in scripts {
        let mut observed = side.one(bootstrap, *script, certificates).await;
        let failed = observed.lines.iter().any(|line| line.starts_with("= no connection"));
        if let Some(ended) = proxy.ended(failed) {
            observed.lines.push(format!("{program:?} ended, {ended}"));
        }
        all.push(observed);
    }
    all
}

/// An address for a proxy to bind. It is below the ports that the system gives to clients, and given out once.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + (NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as u16 % 100 * 100) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn fill(bootstrap: &Bootstrap, ports: &BTreeMap<u16, String>, dir: &str, certificates: &Certificates) -> String {
    let mut text = bootstrap.text.replace("{{dir}}", dir).replace("{{certificates}}", certificates.path());
    for (port, name) in ports {
        text = text.replace(&format!("{{{{{name}}}}}"), &port.to_string());
    }
    assert!(!text.contains("{{"), "{}: what is {{{{…}}}} there?", bootstrap.name);
    text
}

impl Side {
    async fn one(&mut self, bootstrap: &Bootstrap, run: Run<'_>, certificates: &Certificates) -> Observed {
        self.upstreams.begin(&run.script.answers);
        let mut observed = Observed::default();
        let port = client::play(self, bootstrap, run, certificates, &mut observed).await;
        self.upstreams.end(run.script.upstream_requests, bootstrap, &mut observed.lines).await;
        if let Some(log) = self.logged(&observed).await {
            observed.lines.extend(log);
        }
        let mut ports = self.ports.clone();
        ports.entry(port).or_insert_with(|| "client".to_owned());
        rename_ports(&mut observed.lines, &ports);
        observed
    }

    /// What the access log says since the last time: a line for each answer, and for the request that asked whether
    /// the connection is open.
    async fn logged(&mut self, observed: &Observed) -> Option<Vec<String>> {
        let path = self.log.as_ref()?;
        let answers =
            observed.lines.iter().filter(|line| line.starts_with("< HTTP/") && !line.starts_with("< HTTP/1.1 1"));
        let open = observed.lines.iter().any(|line| line == "= open");
        let least = answers.count().max(1);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // A line may be seen before its end is there.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            let lines: Vec<_> = text[..whole].lines().skip(self.lines_logged).collect();
            let asked = !open || lines.iter().any(|line| line.contains("/probe"));
            if (asked && lines.len() >= least) || tokio::time::Instant::now() > end {
                self.lines_logged += lines.len();
                let told = lines.iter().filter(|line| !line.contains("/probe"));
                return Some(told.map(|line| format!("log {line}")).collect());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
