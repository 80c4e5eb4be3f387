//! A real etcd for the tests: on a loopback address that is this process' own, in a directory of its own, and ended
//! with the test.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use tempfile::TempDir;

/// A process of the tests may run several, each on its own ports.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// What a client of an etcd with TLS knows and shows.
#[derive(Clone)]
pub struct Pem {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

pub struct Server {
    directory: TempDir,
    address: Ipv4Addr,
    port: u16,
    process: Option<Child>,
    /// What it is reached with, if by TLS.
    tls: Option<Pem>,
}

impl Server {
    /// Starts one that is empty.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts one that wants TLS, and from its callers certificates of its own authority.
    pub fn start_with_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(tls: bool) -> Self {
        let port = 2379 + 10 * NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = TempDir::new().expect("a directory can be made");
        let tls = tls.then(|| certificates(directory.path(), own_address()));
        let mut server = Self { directory, address: own_address(), port, process: None, tls };
        server.run();
        server
    }

    /// What `--store` takes.
    pub fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "etcds" } else { "etcd" };
        format!("{scheme}://{}:{}", self.address, self.port)
    }

    pub fn tls(&self) -> Option<Pem> {
        self.tls.clone()
    }

    /// Lets it stand still, its connections open, or go on.
    pub fn signal(&self, name: &str) {
        let process = std::fs::read_to_string(self.directory.path().join("pid")).expect("etcd runs");
        let sent = Command::new("kill").args(["-s", name, process.trim()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no process {process}");
    }

    /// Starts it on what it had, once it was stopped.
    pub fn run(&mut self) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://{}:{}", self.address, self.port);
        let peer = format!("http://{}:{}", self.address, self.port + 1);
        // A shell ends it when the test's end closes its input, even if the test is killed.
        let script =
            "\"$@\" & etcd=$!; echo $etcd >\"$PIDFILE\"; (read -r _; kill -9 $etcd) 2>/dev/null <&3 & wait $etcd";
        let script = format!("exec 3<&0; {script}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", "etcd", "--name", "test", "--log-level", "error"]);
        command.arg("--data-dir").arg(self.directory.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}")]);
        if self.tls.is_some() {
            let file = |name: &str| self.directory.path().join(name);
            command.arg("--cert-file").arg(file("server.pem")).arg("--key-file").arg(file("server-key.pem"));
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(file("ca.pem"));
        }
        command.env("PIDFILE", self.directory.path().join("pid"));
        let log = std::fs::File::create(self.directory.path().join("log")).expect("the log can be made");
        command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.process = Some(command.spawn().expect("etcd is installed: scripts/test-setup does it"));
        let begun = Instant::now();
        loop {
            let answers = TcpStream::connect((self.address, self.port)).is_ok();
            // Whoever has the port on all addresses answers here as well.
            let ended = self.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(!ended && begun.elapsed() < Duration::from_secs(60), "etcd did not start: {}", log());
            if answers {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Kills it.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        drop(process.stdin.take());
        let _ = process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An authority, what it vouches for at that address, and what it lets a client show.
fn certificates(directory: &Path, address: Ipv4Addr) -> Pem {
    let key = || KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority can be made");
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("a file can be written");
    let issue = |use_for: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(address.into())];
        params.extended_key_usages = vec![use_for];
        let key = key();
        let certificate = params.signed_by(&key, &authority).expect("a certificate can be made");
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
    write("server.pem", &certificate);
    write("server-key.pem", &key);
    write("ca.pem", &authority.pem());
    let (certificate, key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
    Pem { authority: authority.pem(), certificate, key }
}

/// 127.64.0.0/10 has an address for every process ID.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + (high & 63), middle, low)
}
