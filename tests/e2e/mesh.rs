//! A mesh started by `weft up` in a directory of its own, taken down at the end of the test.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// One mesh at a time in a process: each is a dozen processes of its own.
static ONE: Mutex<()> = Mutex::new(());

pub struct Mesh {
    dir: TempDir,
    pub up: Value,
    guard: Child,
    _one: MutexGuard<'static, ()>,
}

/// An answer, as far as the tests look at it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What the tests are run with.
pub fn weft() -> &'static str {
    env!("CARGO_BIN_EXE_weft")
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Mesh {
    /// `weft up --detach` with these options.
    pub fn start(options: &[&str]) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::new().unwrap();
        let guard = guard(dir.path());
        let mut mesh = Self { dir, up: Value::Null, guard, _one: one };
        mesh.bring_up(options);
        mesh
    }

    /// Starts it, or what of it is missing.
    pub fn bring_up(&mut self, options: &[&str]) {
        let output = self.weft(&[&["up", "--detach", "-o", "json"], options].concat());
        assert!(output.status.success(), "weft up failed: {}\n{}", text(&output), self.logs());
        self.up = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)));
    }

    pub fn take_down(&self) {
        let output = self.weft(&["down"]);
        assert!(output.status.success(), "weft down failed: {}", text(&output));
    }

    /// Runs a command of the command line on this mesh.
    pub fn weft(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(weft());
        command.args(arguments).env("WEFT_DATA_DIR", self.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.weft(arguments);
        assert!(output.status.success(), "weft {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command with this on its standard input.
    pub fn pipe(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn apply(&self, yaml: &str) {
        let output = self.pipe(&["apply", "-f", "-"], yaml);
        assert!(output.status.success(), "{}", text(&output));
    }

    pub fn apply_example(&self, name: &str) {
        self.ok(&["apply", "-f", repository(&format!("examples/bookinfo/{name}.yaml")).to_str().unwrap()]);
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `host:port` of the gateway.
    pub fn gateway(&self) -> SocketAddr {
        address(self.up["gateway"].as_str().unwrap())
    }

    pub fn workload(&self, name: &str) -> &Value {
        let workloads = self.up["workloads"].as_array().unwrap();
        workloads.iter().find(|w| w["name"] == name).unwrap_or_else(|| panic!("no workload {name} in {}", self.up))
    }

    /// `ip:port` where a workload's sidecar takes its service's traffic.
    pub fn address_of(&self, name: &str) -> SocketAddr {
        self.workload(name)["address"].as_str().unwrap().parse().unwrap()
    }

    pub fn pid_of(&self, name: &str) -> u32 {
        self.workload(name)["pid"].as_u64().unwrap() as u32
    }

    pub fn control_plane(&self) -> u32 {
        self.up["control_plane"]["pid"].as_u64().unwrap() as u32
    }

    /// A request to the gateway, on a connection of its own.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        get(self.gateway(), "bookinfo.example", path, headers).unwrap()
    }

    /// A request out of a workload, by its outbound proxy: `http://reviews:9080/…`.
    pub fn call_from(&self, workload: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
        let proxy = address(self.workload(workload)["http_proxy"].as_str().unwrap());
        let host = url.trim_start_matches("http://").split('/').next().unwrap();
        get(proxy, host, url, headers).unwrap()
    }

    /// What every process wrote, for a failed test.
    pub fn logs(&self) -> String {
        let Ok(files) = std::fs::read_dir(self.path().join("log")) else { return String::new() };
        let tail = |path: PathBuf| {
            let all = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = all.lines().collect();
            format!("== {}\n{}\n", path.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        files.flatten().map(|file| tail(file.path())).collect()
    }

    /// What a process of the mesh wrote.
    pub fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(format!("log/{name}.log"))).unwrap_or_default()
    }

    /// The pids of all processes that work in this mesh's directory.
    pub fn processes(&self) -> Vec<u32> {
        let wanted = self.path().to_str().unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mentions = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(wanted);
            if pid != std::process::id() && pid != self.guard.id() && (mentions(&environment) || mentions(&arguments)) {
                found.push(pid);
            }
        }
        found
    }

    /// Every proxy is in step with the control plane.
    pub fn all_synced(&self) -> bool {
        let output = self.weft(&["proxy-status", "-o", "json"]);
        let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
        let Some(proxies) = status["items"].as_array() else { return false };
        let synced = |proxy: &Value| {
            let types = proxy["types"].as_object();
            let settled = |of_type: &Value| matches!(of_type["state"].as_str(), Some("SYNCED" | "NOT SENT"));
            proxy["behind"] == false && types.is_some_and(|types| types.values().all(settled))
        };
        proxies.len() >= 7 && proxies.iter().all(synced)
    }
}

/// Takes the mesh down should the test be killed: it waits for the end of its input, which is the test's end, in a
/// session of its own.
fn guard(data: &Path) -> Child {
    Command::new("setsid")
        .args(["sh", "-c", "read -r _; exec \"$0\" down", weft()])
        .env("WEFT_DATA_DIR", data)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.weft(&["down"]);
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// `http://host:port/…` as an address.
pub fn address(url: &str) -> SocketAddr {
    let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap();
    host.parse().unwrap_or_else(|_| panic!("no address in {url}"))
}

/// One plain GET on a connection of its own.
pub fn get(at: SocketAddr, host: &str, target: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {text:?}")))?;
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { dechunk(body) } else { body.into() };
    Ok(Answer { status, body })
}

fn dechunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        out.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    out
}

/// Waits until something holds, looking again and again; fails the test if it never does.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "{what} did not come about within {limit:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    start.elapsed()
}

pub fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success(), "process {pid} was not there to kill");
}

pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
