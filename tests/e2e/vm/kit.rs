//! A control plane, machines that join it (each on a loopback address of its own), and programs on them.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;
use crate::mesh::{get, text, until, weft};
use crate::ports::free;

/// What the machines are; a probe may follow.
pub const GROUP: &str = "\
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: reviews
spec:
  metadata:
    labels: {app: reviews, version: v1}
  template:
    ports: {http: 9080}
    serviceAccount: bookinfo-reviews
    locality: eu/a
    weight: 3
";

/// A process that ends with the test; `timeout` ends it should the test be killed.
pub struct Process(Child);

impl Process {
    /// `before` stands before the command: `ip netns exec …`.
    pub fn start(before: &[&str], arguments: &[&str], data: &Path, log: &Path) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let words = [before, &["timeout", "-k", "5", "900", weft()], arguments].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .env("WEFT_DATA_DIR", data)
            .env_remove("WEFT_TOKEN")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Of the process that stands before the program, in a group of their own.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.stop();
        }
    }
}

pub struct ControlPlane {
    dir: TempDir,
    pub xds: SocketAddr,
    options: Vec<String>,
    process: Option<Process>,
}

impl ControlPlane {
    pub fn start(options: &[&str]) -> Self {
        Self::start_at(free([127, 0, 0, 1]), options)
    }

    pub fn start_at(xds: SocketAddr, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut control_plane = Self { dir: TempDir::new().unwrap(), xds, options, process: None };
        control_plane.bring_up();
        control_plane
    }

    pub fn bring_up(&mut self) {
        let xds = self.xds.to_string();
        let mut arguments = vec!["control-plane", "--listen-xds", &xds, "--access-log", "off"];
        arguments.extend(["--listen-api", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"]);
        arguments.extend(self.options.iter().map(String::as_str));
        let address = self.dir.path().join("control-plane/address.json");
        let _ = fs::remove_file(&address);
        self.process = Some(Process::start(&[], &arguments, self.dir.path(), &self.dir("log")));
        until("the control plane", SOON, || address.exists());
    }

    /// Of the process group that it runs in.
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub fn take_down(&mut self) {
        self.process = None;
    }

    /// A path below the directory of this test.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command of the command line that must succeed.
    pub fn mesh(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(weft())
            .args(arguments)
            .env("WEFT_DATA_DIR", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "weft {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A token for the group.
    pub fn token(&self, limits: &[&str]) -> String {
        let made = self.mesh(&[&["token", "create", "--workload-group", "reviews"], limits].concat(), "");
        made.trim().to_owned()
    }

    /// The only endpoint of reviews, if there is one.
    pub fn endpoint(&self) -> Option<Value> {
        let listing: Value = serde_json::from_str(&self.mesh(&["endpoints", "reviews", "-o", "json"], "")).unwrap();
        let items = listing["items"].as_array().unwrap();
        assert!(items.len() <= 1, "{listing}");
        items.first().cloned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir("log")).unwrap_or_default()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== the control plane\n{}", self.log());
        }
    }
}

/// A machine.
pub struct Vm {
    pub state: PathBuf,
    pub address: String,
    control_plane: String,
    log: PathBuf,
    agent: Option<Process>,
}

impl Vm {
    pub fn new(control_plane: &ControlPlane, state: PathBuf, address: &str) -> Self {
        let log = control_plane.dir(&format!("agent-{address}.log"));
        let control_plane = format!("https://{}", control_plane.xds);
        Self { state, address: address.to_owned(), control_plane, log, agent: None }
    }

    /// Tries to join; whether it did, and what was said.
    pub fn try_join(&self, token: &str, options: &[&str]) -> (bool, String) {
        let mut command = Command::new(weft());
        command.args(["join", &self.control_plane, "--state-dir", self.state.to_str().unwrap()]);
        command.args(["--address", &self.address, "--drain", "0s"]).args(options).env_remove("WEFT_TOKEN");
        if !token.is_empty() {
            command.args(["--token", token]);
        }
        let output = command.output().unwrap();
        (output.status.success(), text(&output))
    }

    pub fn join(&self, token: &str, options: &[&str]) -> String {
        let (joined, told) = self.try_join(token, options);
        assert!(joined, "{told}");
        told
    }

    /// Joins without a unit, and runs the agent.
    pub fn join_and_start(&mut self, token: &str, options: &[&str]) {
        let root = self.state.with_extension("root");
        self.join(token, &[options, &["--root", root.to_str().unwrap()]].concat());
        self.start();
    }

    pub fn start(&mut self) {
        let state = self.state.to_str().unwrap();
        self.agent = Some(Process::start(&[], &["agent", "--state-dir", state], Path::new("/nonexistent"), &self.log));
    }

    pub fn stop(&mut self) {
        self.agent = None;
    }

    /// Waits until the agent has ended by itself.
    pub fn ended(&mut self) {
        let agent = self.agent.as_mut().unwrap();
        until("the agent's end", SOON, || agent.has_ended());
    }

    pub fn is_running(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| !agent.has_ended())
    }

    pub fn leave(&self) -> String {
        let output =
            Command::new(weft()).args(["leave", "--state-dir", self.state.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// Whether a call out of the machine succeeds: by its own proxy, with mutual TLS to its own sidecar.
    pub fn calls(&self, url: &str) -> bool {
        let proxy = SocketAddr::new(self.address.parse().unwrap(), 15088);
        let host = url.trim_start_matches("http://").split('/').next().unwrap();
        get(proxy, host, url, &[])
            .is_ok_and(|answer| answer.status == 200 && answer.body.contains("sa/bookinfo-reviews"))
    }

    /// Whether the certificate on disk is over for everybody, who count in whole seconds.
    pub fn has_expired(&self) -> bool {
        let leaf = CertificateDer::from_pem_file(self.state.join("cert-chain.pem")).unwrap();
        let svid = api::X509Svid::parse(&leaf).unwrap();
        svid.not_after + Duration::from_secs(2) < SystemTime::now()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== the agent of {}\n{}", self.address, self.log());
        }
    }
}

/// A program that answers with the request's head.
pub struct App {
    pub port: u16,
    status: Arc<AtomicU16>,
}

impl App {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let status = Arc::new(AtomicU16::new(200));
        let answers = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let status = Arc::clone(&answers);
                std::thread::spawn(move || serve(stream, &status));
            }
        });
        Self { port, status }
    }

    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// For `--forward-to`.
    pub fn forward(&self) -> String {
        format!("9080=127.0.0.1:{}", self.port)
    }
}

fn serve(mut stream: std::net::TcpStream, status: &AtomicU16) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
        }
        if seen.ends_with(b"\r\n\r\n") {
            let (status, length) = (status.load(Ordering::SeqCst), seen.len());
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
            if stream.write_all(&[head.as_bytes(), &seen].concat()).is_err() {
                return;
            }
            seen.clear();
        }
    }
}

/// Every file, link and directory below, with what is in it.
pub fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if kind.is_dir() {
                folders.push(path.clone());
                b"a directory".to_vec()
            } else {
                match fs::read(&path) {
                    Ok(content) => content,
                    // It was on its way to its place.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => panic!("{}: {error}", path.display()),
                }
            };
            found.push((path.to_string_lossy().into_owned(), content));
        }
    }
    found.sort();
    found
}
