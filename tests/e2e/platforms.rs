//! One service on two platforms: an ordinary Consul service and a workload of the mesh under one hostname.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::consul::Server;
use crate::load::Load;
use crate::mesh::{Mesh, get, until};
use crate::ports::free;

/// Consul's endpoints before all others, wherever the caller is, and whoever fails is left out for a while.
const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: quotes}
spec:
  host: quotes
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}
    loadBalancer:
      localityLbSetting:
        failoverPriority: [topology.kubernetes.io/region=dc1]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: quotes}
spec:
  hosts: ['*']
  gateways: [bookinfo-gateway]
  http:
  - match: [{uri: {prefix: /who}}]
    route: [{destination: {host: quotes, port: {number: 8000}}}]
    retries: {attempts: 3, retryOn: 'connect-failure,refused-stream,reset,5xx'}
";

/// An ordinary server, which tells which one it is. A whole answer is one write, so that it is either there or was never
/// begun when the server is killed: what was cut short in the middle no proxy can make good.
const SERVER: &str = "
import http.server, sys
host, port, who = sys.argv[1:]
answer = f'HTTP/1.1 200 OK\\r\\nContent-Length: {len(who)}\\r\\n\\r\\n{who}'.encode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.wfile.write(answer)
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server((host, int(port)), Handler).serve_forever()
";

/// That server; it ends with the test.
struct Plain {
    process: Child,
    at: SocketAddr,
}

impl Plain {
    fn start(at: SocketAddr, who: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &at.ip().to_string(), &at.port().to_string(), who]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let plain = Self { process, at };
        until("the server", Duration::from_secs(60), || plain.answers());
        plain
    }

    fn answers(&self) -> bool {
        get(self.at, "plain", "/who", &[]).is_ok_and(|answer| answer.status == 200)
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A workload of the mesh that serves the same; it ends with the test.
struct Joined(Child);

impl Joined {
    fn start(mesh: &Mesh, service: &str, port: u16, forward: SocketAddr) -> Self {
        let log = std::fs::File::create(mesh.path().join("log").join(format!("test-{service}.log"))).unwrap();
        let (port, forward) = (port.to_string(), forward.to_string());
        let arguments = ["agent", "--service", service, "--port", &port, "--forward-to", &forward];
        let mut command = mesh.command(&arguments);
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn items(mesh: &Mesh, arguments: &[&str]) -> Vec<Value> {
    let listing: Value = serde_json::from_str(&mesh.ok(arguments)).unwrap();
    listing["items"].as_array().unwrap().clone()
}

/// Which server answers through the gateway; nothing while none does.
fn who(mesh: &Mesh) -> String {
    let answer = get(mesh.gateway(), "quotes.example", "/who", &[]);
    answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.body).unwrap_or_default()
}

#[test]
fn a_service_of_consul_is_called_by_its_names_and_fails_over_to_a_vm() {
    let server = Server::start();
    let mut plain = Plain::start(SocketAddr::from((server.address, 8000)), "consul");
    let address = server.address.to_string();
    let meta = json!({ "Port": 8000, "Meta": { "protocol": "http", "version": "v1" } });
    server.register("quotes", "quotes-1", &address, meta);
    let mesh = Mesh::start(&["--consul", &server.url()]);
    mesh.apply(RULES);

    // The ordinary Consul service is called out of the mesh by both of its names.
    for host in ["quotes", "quotes.default.svc.cluster.local", "quotes.service.consul"] {
        until(&format!("{host} from Consul"), Duration::from_secs(60), || {
            mesh.call_from("productpage-v1", &format!("http://{host}:8000/who"), &[]).body == "consul"
        });
    }
    let status = items(&mesh, &["registry", "status", "-o", "json"]);
    let consul = status.iter().find(|item| item["name"] == "consul").unwrap();
    assert_eq!((&consul["state"], &consul["services"]), (&json!("synced"), &json!(1)), "{status:?}");

    // A workload joins under the same host.
    let vm = Plain::start(free([127, 0, 0, 1]), "vm");
    let _joined = Joined::start(&mesh, "quotes", 8000, vm.at);
    until("both platforms", Duration::from_secs(60), || {
        let counts = items(&mesh, &["endpoints", "quotes", "--by-platform", "-o", "json"]);
        let healthy = |platform: &str| counts.iter().any(|c| c["platform"] == platform && c["healthy"] == 1);
        healthy("consul") && healthy("vm")
    });
    let endpoints = items(&mesh, &["endpoints", "quotes", "-o", "json"]);
    let by_alias = items(&mesh, &["endpoints", "quotes.service.consul", "--by-platform", "-o", "json"]);
    let each = by_alias.iter().flat_map(|item| item["endpoints"].as_array().unwrap());
    let each: Vec<_> = each.map(|one| (one["platform"].clone(), one["health"].clone(), one["stale"].clone())).collect();
    assert_eq!(each, ["consul", "vm"].map(|platform| (json!(platform), json!("healthy"), json!(false))));
    let sidecar = endpoints.iter().find(|endpoint| endpoint["platform"] == "vm").unwrap();
    let ready = SocketAddr::new(sidecar["address"].as_str().unwrap().parse().unwrap(), 15021);
    until("the sidecar", Duration::from_secs(60), || {
        get(ready, "sidecar", "/healthz/ready", &[]).is_ok_and(|answer| answer.status == 200)
    });
    until("the route through the gateway", Duration::from_secs(60), || who(&mesh) == "consul");
    // The control plane knows of an endpoint before it has told the proxies.
    let admin = SocketAddr::new(mesh.gateway().ip(), 15000);
    let behind = format!("{}:8000::", ready.ip());
    let fit = |line: &str| line.contains(&behind) && line.ends_with("::health_flags::healthy");
    until("the gateway to know the VM", Duration::from_secs(60), || {
        get(admin, "admin", "/clusters", &[]).is_ok_and(|clusters| clusters.body.lines().any(fit))
    });

    // Consul's endpoint dies, and is then taken out of Consul.
    let load = Load::start(mesh.gateway(), "/who", 300);
    until("some traffic", Duration::from_secs(60), || who(&mesh) == "consul");
    let died = Instant::now();
    plain.kill();
    server.deregister("quotes-1");
    until("the VM", Duration::from_secs(60), || who(&mesh) == "vm");
    let moved = died.elapsed();
    until("Consul's endpoint to go", Duration::from_secs(60), || {
        items(&mesh, &["endpoints", "quotes", "-o", "json"]).len() == 1
    });
    let outcome = load.run_until(1_000);
    assert!(outcome.failed() * 1_000 < outcome.total(), "{outcome:?}");
    println!("traffic moved after {moved:?}: {outcome:?}");

    // Callers that use Consul's name are served from the VM now; their proxies hear of it one by one.
    until("the VM by Consul's name", Duration::from_secs(60), || {
        let answer = mesh.call_from("productpage-v1", "http://quotes.service.consul:8000/who", &[]);
        (answer.status, answer.body.as_str()) == (200, "vm")
    });
}

#[test]
fn a_lost_consul_is_shown_and_its_endpoints_serve_on() {
    let mut server = Server::start();
    let plain = Plain::start(SocketAddr::from((server.address, 8000)), "consul");
    let address = server.address.to_string();
    // Without a check of time to live, which an agent that restarts may find critical by itself.
    let quotes = json!({ "Port": 8000, "Meta": { "protocol": "http" }, "Check": null });
    server.register("quotes", "quotes-1", &address, quotes);
    let place = format!("east=consul:{}?wait=1s", server.url());
    let options = ["--no-sample", "--registry", &place];
    let mut mesh = Mesh::start(&options);
    mesh.apply(RULES);
    mesh.apply_example("bookinfo-gateway");
    until("quotes from Consul", Duration::from_secs(60), || who(&mesh) == "consul");
    server.stop();
    until("the loss", Duration::from_secs(60), || {
        items(&mesh, &["registry", "status", "-o", "json"]).iter().any(|r| r["name"] == "east" && r["state"] == "stale")
    });
    let endpoints = items(&mesh, &["endpoints", "quotes", "-o", "json"]);
    assert_eq!((endpoints.len(), &endpoints[0]["stale"]), (1, &json!(true)), "{endpoints:?}");
    assert_eq!(who(&mesh), "consul");

    // A control plane that starts while Consul is away knows what it knew.
    mesh.take_down();
    mesh.bring_up(&options);
    until("what it knew", Duration::from_secs(60), || {
        let endpoints = items(&mesh, &["endpoints", "quotes", "-o", "json"]);
        endpoints.len() == 1 && endpoints[0]["stale"] == true
    });
    until("quotes without Consul", Duration::from_secs(60), || who(&mesh) == "consul");
    assert!(plain.answers());
    server.run();
    until("its return", Duration::from_secs(60), || {
        items(&mesh, &["registry", "status", "-o", "json"]).iter().all(|registry| registry["state"] == "synced")
    });
    assert_eq!(who(&mesh), "consul");
}

#[test]
fn a_cluster_that_is_away_at_the_start_is_shown_and_the_others_are_served() {
    let directory = tempfile::TempDir::new().unwrap();
    let kubeconfig = directory.path().join("west.yaml");
    let away = format!("http://{}", free([127, 0, 0, 1]));
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "west",
        "contexts": [{ "name": "west", "context": { "cluster": "west", "user": "west" } }],
        "clusters": [{ "name": "west", "cluster": { "server": away } }],
        "users": [{ "name": "west", "user": { "token": "t" } }],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let mesh = Mesh::start(&["--no-sample", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    until("what is synced", Duration::from_secs(60), || {
        let status = items(&mesh, &["registry", "status", "-o", "json"]);
        let states: Vec<_> = status.iter().map(|item| [&item["name"], &item["state"]]).collect();
        states == [["static", "synced"], ["agents", "synced"], ["west", "stale"]]
    });
    let log = || mesh.log_of("control-plane");
    until("why", Duration::from_secs(60), || log().contains("the API server is out of reach"));
    let log = log();
    assert!(!log.contains("kube_client"), "{log}");
}
