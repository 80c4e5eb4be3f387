//! A real Prometheus finds and scrapes a running mesh, and has what Istio's dashboards ask it for.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::denied::{Echo, Held};
use crate::mesh::{Mesh, get, until};
use crate::ports::free;

/// What the dashboards query, a line each.
const QUERIED: &str = include_str!("istio-dashboards.txt");

struct Prometheus {
    child: Child,
    at: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    fn start(mesh: &Mesh) -> Self {
        let dir = TempDir::new().unwrap();
        // Prometheus binds no port 0.
        let at = free([127, 0, 0, 1]);
        let known = std::fs::read(mesh.path().join("control-plane/address.json")).unwrap();
        let known: Value = serde_json::from_slice(&known).unwrap();
        let control_plane = crate::mesh::address(known["metrics"].as_str().unwrap());
        let config = format!(
            "global: {{ scrape_interval: 5s, scrape_timeout: 5s }}\n\
             scrape_configs:\n\
             - job_name: proxies\n  http_sd_configs:\n  - url: {}/api/v1/sd\n    refresh_interval: 1s\n    \
             authorization: {{ type: Bearer, credentials_file: {} }}\n\
             - job_name: control-plane\n  static_configs: [{{ targets: ['{control_plane}'] }}]\n",
            known["api"].as_str().unwrap(),
            mesh.path().join("token").display(),
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed by scripts/test-setup");
        Self { child, at, _dir: dir }
    }

    /// The newest value of each series of a metric, with its labels.
    fn query(&self, metric: &str) -> Vec<Value> {
        let answer = get(self.at, "localhost", &format!("/api/v1/query?query={metric}"), &[]);
        let Ok(answer) = answer else { return Vec::new() };
        let found: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        found["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a series has a label, or a label with this value.
fn has(series: &Value, label: &str) -> bool {
    let (label, wanted) = label.split_once('=').unwrap_or((label, ""));
    let is = |value: &str| if wanted.is_empty() { !value.is_empty() } else { value == wanted };
    series["metric"][label].as_str().is_some_and(is)
}

#[test]
fn prometheus_has_what_istios_dashboards_ask_for() {
    let mesh = Mesh::start(&[]);
    // What speaks TCP beside the sample.
    let echo = Echo::start(&mesh);
    let call = || {
        mesh.get("/productpage", &[]);
        drop(Held::open(&mesh, "productpage-v1", echo.1, b"hello"));
    };
    let prometheus = Prometheus::start(&mesh);
    until("all proxies scraped", Duration::from_secs(90), || {
        call();
        let up = prometheus.query("up");
        let proxies = up.iter().filter(|series| series["metric"]["job"] == "proxies" && series["value"][1] == "1");
        proxies.count() >= 8 && up.iter().all(|series| series["value"][1] == "1")
    });
    for line in QUERIED.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let metric = words.next().unwrap();
        let labels: Vec<&str> = words.collect();
        // The first series may be of a proxy that knows less than others.
        until(line, Duration::from_secs(60), || {
            call();
            let found = prometheus.query(metric);
            !found.is_empty() && labels.iter().all(|label| found.iter().any(|series| has(series, label)))
        });
    }
    until("one stream of each proxy to the control plane", Duration::from_secs(60), || {
        let streams = prometheus.query("sum(envoy_cluster_upstream_cx_active%7Bcluster_name=%22xds-grpc%22%7D)");
        streams.first().is_some_and(|sum| sum["value"][1] == "8")
    });
    // Between two scrapes, and while one goes on, the last connection is in one of them only.
    until("as much sent as received by an echo", Duration::from_secs(60), || {
        let (sent, received) = ("istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total");
        let sums = [sent, received].map(|metric| prometheus.query(&format!("sum({metric})")));
        let [sent, received] = sums.each_ref().map(|sum| sum.first().map(|sum| &sum["value"][1]));
        sent.is_some() && sent == received
    });
}
