//! A real etcd for the tests: on a loopback address that is this process' own, in a directory of its own, and ended
//! with the test.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A process of the tests may run several, each on its own ports.
static NEXT: AtomicU16 = AtomicU16::new(0);

pub struct Server {
    directory: TempDir,
    address: Ipv4Addr,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts one that is empty.
    pub fn start() -> Self {
        let port = 2379 + 10 * NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = TempDir::new().expect("a directory can be made");
        let mut server = Self { directory, address: own_address(), port, process: None };
        server.run();
        server
    }

    /// What `--store` takes.
    pub fn place(&self) -> String {
        format!("etcd://{}:{}", self.address, self.port)
    }

    /// Starts it on what it had, once it was stopped.
    pub fn run(&mut self) {
        let client = format!("http://{}:{}", self.address, self.port);
        let peer = format!("http://{}:{}", self.address, self.port + 1);
        // A shell ends it when the test's end closes its input, even if the test is killed.
        let script = "\"$@\" & etcd=$!; (read -r _; kill -9 $etcd) 2>/dev/null <&3 & wait $etcd";
        let script = format!("exec 3<&0; {script}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", "etcd", "--name", "test", "--log-level", "error"]);
        command.arg("--data-dir").arg(self.directory.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}")]);
        let log = std::fs::File::create(self.directory.path().join("log")).expect("the log can be made");
        command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.process = Some(command.spawn().expect("etcd is installed: scripts/test-setup does it"));
        let begun = Instant::now();
        while TcpStream::connect((self.address, self.port)).is_err() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "etcd did not start: {log}");
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

/// 127.64.0.0/10 has an address for every process ID.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + (high & 63), middle, low)
}
