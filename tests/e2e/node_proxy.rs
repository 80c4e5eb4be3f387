//! One proxy for several workloads of a machine: each user's programs have the identity of their own workload.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mesh::{get, repository, until};
use crate::telemetry::api_of;
use crate::vm::SOON;
use crate::vm::kit::{App, ControlPlane, Process};

const ADDRESS: &str = "127.9.4.7";
const REVIEWS: u32 = 64_001;
const RATINGS: u32 = 64_002;
const NOBODY: u32 = 64_003;

struct Node {
    address: &'static str,
    control_plane: ControlPlane,
    _process: Process,
}

impl Node {
    /// Reviews and ratings on one machine, both on port 9080 of their services.
    fn start(address: &'static str, reviews: &App, ratings: &App, options: &[&str]) -> Self {
        let control_plane = ControlPlane::start(&[]);
        let file = control_plane.dir("workloads.yaml");
        let entry = |user: u32, name: &str, version: &str, port: u16| {
            format!(
                "- user: {user}\n  version: {version}\n  serviceAccount: bookinfo-{name}\n  services:\n  \
                 - {{service: {name}, port: 9080, forwardTo: '127.0.0.1:{port}'}}\n"
            )
        };
        let workloads = entry(REVIEWS, "reviews", "v2", reviews.port) + &entry(RATINGS, "ratings", "v1", ratings.port);
        fs::write(&file, format!("workloads:\n{workloads}")).unwrap();
        let arguments = ["node-proxy", "-f", file.to_str().unwrap(), "--address", address, "--drain", "0s"];
        let (data, log) = (control_plane.dir(""), control_plane.dir("node.log"));
        let process = Process::start(&[], &[&arguments[..], options].concat(), &data, &log);
        let node = Self { address, control_plane, _process: process };
        until("both workloads are ready", SOON, || node.admin("/ready").is_some_and(|(status, _)| status == 200));
        node
    }

    /// A program's request, run as a user; the status and the body.
    fn call(&self, user: u32, words: &[&str]) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "20", "-w", "\n%{http_code}", "--noproxy", "none"])
            .args(words)
            .uid(user)
            .current_dir("/");
        let output = String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned();
        let (body, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    fn by_proxy(&self, user: u32, url: &str) -> (u16, String) {
        self.call(user, &["--proxy", &format!("http://{}:4140", self.address), url])
    }

    fn admin(&self, path: &str) -> Option<(u16, String)> {
        let answer = get(format!("{}:15000", self.address).parse().unwrap(), "admin", path, &[]).ok()?;
        Some((answer.status, answer.body))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "== the node proxy\n{}",
                fs::read_to_string(self.control_plane.dir("node.log")).unwrap_or_default()
            );
        }
    }
}

#[test]
fn programs_of_one_machine_are_told_apart_by_their_user() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: programs can be run as other users by root alone");
        return;
    }
    let (reviews, ratings) = (App::start(), App::start());
    let node = Node::start(ADDRESS, &reviews, &ratings, &[]);
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: mesh, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n";
    node.control_plane.mesh(&["apply", "-f", "-"], strict);

    // Each has an identity of its own, and reaches the other over the machine's one port.
    let ask = |user, url: &str, expected: &str| {
        until(&format!("user {user} asks {url}: {expected}"), SOON, || {
            let (status, body) = node.by_proxy(user, url);
            status == 200 && body.contains(expected)
        });
    };
    ask(REVIEWS, "http://ratings:9080/", "sa/bookinfo-reviews");
    ask(RATINGS, "http://reviews:9080/", "sa/bookinfo-ratings");
    let endpoints: Value = serde_json::from_str(&node.control_plane.mesh(&["endpoints", "-o", "json"], "")).unwrap();
    let endpoints = endpoints["items"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{endpoints:?}");
    for endpoint in endpoints {
        assert_eq!((endpoint["address"].as_str(), endpoint["port"].as_u64()), (Some(ADDRESS), Some(4141)));
    }

    // A user that runs no workload is nobody, even root.
    for user in [NOBODY, 0] {
        let (status, told) = node.by_proxy(user, "http://ratings:9080/");
        assert_eq!(status, 403, "{told}");
        assert!(told.contains(&format!("no workload of this machine runs as user {user}")), "{told}");
    }

    // HTTP/2 without TLS has ports of its own.
    for port in [4240, 4340] {
        let url = format!("http://{ADDRESS}:{port}/");
        let (status, body) = node.call(REVIEWS, &["--http2-prior-knowledge", "-H", "Host: ratings:9080", &url]);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("sa/bookinfo-reviews"), "{body}");
    }

    // Plaintext from elsewhere is refused where mutual TLS is asked for.
    let plain = || node.call(NOBODY, &["-H", "Host: ratings:9080", &format!("http://{ADDRESS}:4141/")]);
    until("plaintext refused", SOON, || plain().0 == 0);

    let told = || -> Value { serde_json::from_str(&node.admin("/admin/metrics.json").unwrap().1).unwrap() };
    for (workload, caller) in [("reviews-v2", "ratings"), ("ratings-v1", "reviews")] {
        let named = |series: &&String| {
            series.starts_with("istio_requests_total")
                && series.contains(&format!("workload=\"{workload}.default\""))
                && series.contains("reporter=\"destination\"")
                && series
                    .contains(&format!("source_principal=\"spiffe://cluster.local/ns/default/sa/bookinfo-{caller}\""))
        };
        // A request is counted once its answer is gone.
        until(workload, SOON, || {
            told().as_object().unwrap().iter().any(|(series, count)| named(&series) && count.as_u64() > Some(0))
        });
    }
    assert_eq!(told()["weft_node_proxy_refused_total{reason=\"unknown_user\"}"], 2);
    for path in ["/metrics", "/stats/prometheus", "/admin/metrics/prometheus"] {
        let (_, text) = node.admin(path).unwrap();
        assert_eq!(text.matches("# TYPE istio_requests_total counter").count(), 1, "{text}");
    }
    // Prometheus finds each workload by itself, at a port that shows metrics and nothing else.
    let targets = || api_of(&node.control_plane.dir(""), "sd").as_array().unwrap().clone();
    until("both are found", SOON, || targets().len() == 2);
    for target in targets() {
        let at = target["targets"][0].as_str().unwrap();
        assert_eq!(at, format!("{ADDRESS}:15090"));
        let path = target["labels"]["__metrics_path__"].as_str().unwrap();
        let answer = get(at.parse().unwrap(), "metrics", path, &[]).unwrap();
        assert!(answer.status == 200 && answer.body.contains("istio_requests_total"), "{path}: {answer:?}");
        assert_eq!(get(at.parse().unwrap(), "metrics", "/config_dump", &[]).unwrap().status, 404);
    }
    let (status, of_one) = node.admin("/workloads/default/reviews-v2/certs").unwrap();
    assert!(status == 200 && of_one.contains("sa/bookinfo-reviews"), "{of_one}");
}

#[test]
fn what_a_workload_handed_out_ends_with_its_run_and_the_next_hands_out_its_own() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: programs can be run as other users by root alone");
        return;
    }
    let (reviews, ratings) = (App::start(), App::start());
    // Other users reach the socket.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("workload.sock");
    let option = format!("--workload-socket={}", socket.display());
    let node = Node::start("127.9.4.8", &reviews, &ratings, &[&option]);
    let client = |user: u32| {
        let mut child = Command::new(repository("target/test-venv/bin/python"))
            .arg(repository("tests/e2e/workload_api/client.py"))
            .args(["hold", &user.to_string(), socket.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        (child, lines)
    };
    let (mut first, mut told) = client(REVIEWS);
    assert!(told.next().unwrap().ends_with("sa/bookinfo-reviews"));
    let (mut other, mut others) = client(RATINGS);
    assert!(others.next().unwrap().ends_with("sa/bookinfo-ratings"));
    let quit = format!("http://{}:15000/workloads/default/reviews-v2/quitquitquit", node.address);
    assert_eq!(node.call(0, &["-X", "POST", &quit]).0, 200);
    assert_eq!(told.next().unwrap(), "{\"code\": \"OK\"}");
    first.wait().unwrap();
    let log = || fs::read_to_string(node.control_plane.dir("node.log")).unwrap();
    until("its proxy's end", SOON, || log().contains("a workload's proxy ended; it is started again"));
    until("it is started again", SOON, || node.admin("/ready").is_some_and(|(status, _)| status == 200));
    let (mut second, mut told) = client(REVIEWS);
    assert!(told.next().unwrap().ends_with("sa/bookinfo-reviews"));
    assert_eq!(other.try_wait().unwrap(), None, "the other workload's goes on");
    for child in [&mut second, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
