//! A Consul server of a test's own, on a loopback address of its own, that ends with the test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Server {
    pub dir: TempDir,
    pub address: Ipv4Addr,
    process: Option<Child>,
    token: Option<String>,
}

/// Consul takes 64 operations in one transaction: a node, a service and a check each.
pub const PER_TRANSACTION: usize = 21;
const PATIENCE: Duration = Duration::from_secs(60);
/// The one that `acl` in the settings makes valid.
pub const MASTER: &str = "6d1c3a0e-0000-4000-8000-000000000001";

impl Server {
    pub fn start() -> Self {
        Self::with(json!({}))
    }

    /// With these settings beside those that every test needs.
    pub fn with(settings: Value) -> Self {
        let dir = TempDir::new().unwrap();
        let token = settings.get("acl").map(|_| MASTER.to_owned());
        let mut server = Self { dir, address: own_address(), process: None, token };
        server.configure(settings);
        server.run();
        server
    }

    /// Before it is started: its address is known, so that certificates can name it.
    pub fn prepare() -> Self {
        Self { dir: TempDir::new().unwrap(), address: own_address(), process: None, token: None }
    }

    pub fn configure(&self, settings: Value) {
        let mut all = json!({
            "server": true, "bootstrap_expect": 1, "bind_addr": self.address, "client_addr": self.address,
            "data_dir": self.path("data"), "disable_update_check": true, "log_level": "warn",
            "performance": { "raft_multiplier": 1 }, "ports": { "dns": -1, "grpc": -1, "serf_wan": -1 },
            "node_name": "node-a", "limits": { "http_max_conns_per_client": 4096 },
        });
        merge(&mut all, settings);
        std::fs::write(self.path("consul.json"), all.to_string()).unwrap();
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts it, on what it knew before, and waits until it serves.
    pub fn run(&mut self) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        // The shell ends Consul when the test closes its input, by ending too.
        let script = "consul agent -config-file \"$0\" & read -r _; kill -9 $!; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script, &self.path("consul.json")]).stdin(Stdio::piped());
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        until(&format!("consul in {}", self.path("log")), || {
            self.try_call("GET", "/v1/status/leader", "").is_ok_and(|answer| answer.contains(':'))
                && self.try_call("GET", "/v1/catalog/service/consul", "").is_ok_and(|answer| answer.contains("node-a"))
        });
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    pub fn at(&self) -> SocketAddr {
        (self.address, 8500).into()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at())
    }

    pub fn put(&self, path: &str, body: Value) -> String {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.try_call("PUT", path, &text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Registers an instance on this node, with a check that passes for as long as nobody says otherwise.
    pub fn register(&self, service: &str, id: &str, address: &str, rest: Value) {
        let check = json!({ "CheckID": format!("check-{id}"), "TTL": "10h", "Status": "passing" });
        let mut body = json!({ "ID": id, "Name": service, "Address": address, "Port": 9080, "Check": check });
        merge(&mut body, rest);
        self.put("/v1/agent/service/register", body);
    }

    pub fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), Value::Null);
    }

    /// `pass`, `warn` or `fail` for the check of an instance.
    pub fn check(&self, verdict: &str, id: &str) {
        self.put(&format!("/v1/agent/check/{verdict}/check-{id}"), Value::Null);
    }

    /// Puts instances, and their checks, on nodes that have no agent, many at a time.
    pub fn register_all(&self, instances: impl Iterator<Item = Value>) {
        let all: Vec<Value> = instances.collect();
        for some in all.chunks(PER_TRANSACTION) {
            let operations = some.iter().flat_map(|instance| {
                let node = json!({ "Node": instance["Node"], "Address": instance["Address"] });
                let service = json!({ "Node": instance["Node"], "Service": instance["Service"] });
                let mut set = vec![
                    json!({ "Node": { "Verb": "set", "Node": node } }),
                    json!({ "Service": { "Verb": "set", "Node": instance["Node"], "Service": service["Service"] } }),
                ];
                set.extend(instance.get("Check").map(|check| json!({ "Check": { "Verb": "set", "Check": check } })));
                set
            });
            self.put("/v1/txn", Value::Array(operations.collect()));
        }
    }

    fn try_call(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(self.at()).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let token = self.token.as_ref().map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()),
            false => Err(answer),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A loopback address that no other test has: Consul cannot take a port that is free.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    let [high, low] = [(process / 254 % 254) as u8, (process % 254) as u8 + 1];
    Ipv4Addr::new(127, 64 + NEXT.fetch_add(1, Ordering::Relaxed), high, low)
}

pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Waits until something holds, looking again and again.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
