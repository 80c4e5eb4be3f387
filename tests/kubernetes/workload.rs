//! Programs of the sample, each with its proxy: beside a sidecar of its own, or on a machine that joined.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::bookinfo::PATIENCE;
use crate::mesh::{Mesh, get, until, weft};

/// A program of the sample and its proxy; both end with the test.
pub struct Workload {
    /// Those that still run, the proxy first.
    processes: Vec<Child>,
    /// Where its service is reached.
    pub at: SocketAddr,
}

impl Workload {
    /// On an address of its own. Where it is registered `elsewhere`, the sidecar registers nothing; who it is, its join
    /// token says.
    pub fn start(mesh: &Mesh, name: &str, at: SocketAddr, elsewhere: bool) -> Self {
        let (service, version) = parts(name);
        let account = format!("bookinfo-{service}");
        let token = mesh.ok(&["token", "create", "--service-account", &account]);
        let (address, port) = (at.ip().to_string(), at.port().to_string());
        let program = format!(
            "exec {} sample bookinfo {service} --version {version} --name {name} --listen $WEFT_ADDRESS:$PORT",
            weft()
        );
        let mut command = mesh.command(&["run", "--service", service, "--port", &port, "--address", &address]);
        command.args(["--version", version, "--name", name, "--service-account", &account, "--token", token.trim()]);
        command.args(elsewhere.then_some("--no-register")).args(["--", "sh", "-c", &program]);
        Self { processes: vec![spawn(command, mesh, name)], at }.ready(name)
    }

    /// On a machine that joins by its WorkloadGroup: nobody but the control plane tells it what it is.
    pub fn join(mesh: &Mesh, name: &str, at: SocketAddr) -> Self {
        let (service, version) = parts(name);
        mesh.apply(&format!(
            "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: {name}}}
spec:
  metadata: {{labels: {{app: {service}, version: {version}}}}}
  template: {{ports: {{http: {}}}, serviceAccount: bookinfo-{service}}}
",
            at.port()
        ));
        let token = mesh.ok(&["token", "create", "--workload-group", name]);
        let up: Value = serde_json::from_slice(&std::fs::read(mesh.path().join("run/up.json")).unwrap()).unwrap();
        let control_plane = format!("https://{}", up["xds"].as_str().unwrap());
        let machine = mesh.path().join("machines").join(name);
        let (state, root) = (machine.join("var/lib/weft"), machine.join("root"));
        std::fs::create_dir_all(&root).unwrap();
        let program = SocketAddr::new(at.ip(), at.port() + 10_000).to_string();
        let forward = format!("{}={program}", at.port());
        let join = ["join", &control_plane, "--token", token.trim(), "--address", &at.ip().to_string()];
        let place = ["--state-dir", path(&state), "--root", path(&root), "--drain", "0s", "--forward-to", &forward];
        let told = mesh.ok(&[&join[..], &place].concat());
        assert!(told.contains(&format!("serves {service}.default on {at}")), "{told}");

        let agent = spawn(mesh.command(&["agent", "--state-dir", path(&state)]), mesh, &format!("{name}-agent"));
        let mut command = mesh.command(&["sample", "bookinfo", service, "--version", version, "--name", name]);
        command.args(["--listen", &program]).env("http_proxy", format!("http://{}:15088", at.ip()));
        command.env("no_proxy", "localhost,127.0.0.1");
        Self { processes: vec![agent, spawn(command, mesh, name)], at }.ready(name)
    }

    fn ready(self, name: &str) -> Self {
        until(name, PATIENCE, || {
            let ready = SocketAddr::new(self.at.ip(), 15021);
            get(ready, "sidecar", "/healthz/ready", &[]).is_ok_and(|answer| answer.status == 200)
        });
        self
    }

    /// All at once, as when the machine is lost.
    pub fn kill(&mut self) {
        self.processes.iter_mut().for_each(|process| process.kill().unwrap());
        self.processes.drain(..).for_each(|mut process| drop(process.wait()));
    }

    /// Takes connections, and serves nobody who does not prove who he is.
    pub fn is_strict(&self) -> bool {
        let plain = get(self.at, "plain", "/health", &[]);
        TcpStream::connect(self.at).is_ok() && plain.is_err()
    }

    /// The way out of the workload.
    pub fn proxy(&self) -> SocketAddr {
        SocketAddr::new(self.at.ip(), 15088)
    }

    /// How many requests its sidecar has taken from others.
    pub fn served(&self) -> u64 {
        let metrics = self.admin("/stats/prometheus");
        let taken = metrics.lines().filter(|line| line.starts_with("istio_requests_total{reporter=\"destination\""));
        taken.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// What its proxy tells of the hosts that it sends the requests for reviews to: a line each.
    pub fn hosts_of_reviews(&self) -> Vec<String> {
        let clusters = self.admin("/clusters");
        let ours =
            clusters.lines().filter(|line| line.starts_with("outbound|9080||reviews.default.svc.cluster.local::"));
        ours.map(str::to_owned).collect()
    }

    fn admin(&self, path: &str) -> String {
        get(SocketAddr::new(self.at.ip(), 15000), "admin", path, &[]).unwrap().body
    }
}

impl Drop for Workload {
    /// What was killed has been waited for: its number may be another's by now.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.processes.is_empty() {
            let told = get(SocketAddr::new(self.at.ip(), 15000), "admin", "/clusters", &[]).map(|answer| answer.body);
            let told = told.unwrap_or_default();
            let wanted = |line: &&str| ["::health_flags::", "::priority::"].iter().any(|field| line.contains(field));
            eprintln!("== {}\n{}", self.at, told.lines().filter(wanted).collect::<Vec<_>>().join("\n"));
        }
        for process in &self.processes {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
        }
        self.processes.iter_mut().for_each(|process| drop(process.wait()));
    }
}

/// Service and version of `reviews-v1-more`.
fn parts(name: &str) -> (&str, &str) {
    let (service, version) = name.split_once('-').unwrap();
    (service, version.split('-').next().unwrap())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Its log is that of the name.
pub fn spawn(mut command: Command, mesh: &Mesh, name: &str) -> Child {
    let log = File::create(mesh.path().join("log").join(format!("{name}.log"))).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// An address of this test's own on this machine.
pub fn machine(number: u8) -> SocketAddr {
    let process = std::process::id();
    SocketAddr::from(([127, 96 + number, (process / 254 % 254) as u8, (process % 254) as u8 + 1], 9080))
}
