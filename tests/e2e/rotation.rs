//! The root of trust is replaced under load.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::load::Load;
use crate::mesh::{Mesh, text, until};

fn authority(mesh: &Mesh) -> Value {
    serde_json::from_str(&mesh.ok(&["ca", "status", "-o", "json"])).unwrap()
}

fn roots(mesh: &Mesh) -> Vec<String> {
    let authority = authority(mesh);
    authority["roots"].as_array().unwrap().iter().map(|root| root["fingerprint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_root_is_replaced_under_load_without_a_failed_request() {
    let mesh = Mesh::start(&[]);
    until("all are in step", Duration::from_secs(60), || mesh.all_synced());
    let before = roots(&mesh);
    let load = Load::start(mesh.gateway(), "/api/v1/products/0/reviews", 50);

    // A sidecar that stands still is waited for, and named. The load does not need it.
    let frozen = Pid::from_raw(mesh.pid_of("details-v1") as i32);
    kill(frozen, Signal::SIGSTOP).unwrap();
    mesh.ok(&["ca", "rotate", "--to", "distributed"]);
    let waiting = || authority(&mesh)["rotation"]["waiting"].as_array().unwrap().clone();
    until("only one is behind", Duration::from_secs(60), || waiting().len() == 1);
    let refused = mesh.weft(&["ca", "rotate", "--no-wait"]);
    kill(frozen, Signal::SIGCONT).unwrap();
    assert!(!refused.status.success());
    let told = text(&refused);
    assert!(told.contains("sa/bookinfo-details") && told.contains("--force"), "{told}");

    let told = mesh.ok(&["ca", "rotate"]);
    assert!(told.contains("signing: the new root signs") && told.contains("one root is trusted"), "{told}");
    let after = roots(&mesh);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    let outcome = load.run_until(1000);
    assert_eq!(outcome.failed(), 0, "{outcome:?}");
    // Whoever joins now joins under the new root.
    assert!(mesh.ok(&["token", "create", "--service-account", "late"]).trim().ends_with(&after[0]));
}

const PROXIES: usize = 200;

/// A program that answers every request, until the test's process ends; where it listens.
fn program() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Requests without a body, one after the other.
fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Sidecars that end with the test.
struct Sidecars(Vec<Child>);

impl Sidecars {
    /// So many, all of one service.
    fn start(mesh: &Mesh, count: usize, program: SocketAddr) -> Self {
        let program = program.to_string();
        let log = File::create(mesh.path().join("log/echo.log")).unwrap();
        let one = |number: usize| {
            let name = format!("echo-{number}");
            // More than are given away by themselves.
            let address = format!("127.77.0.{}", number + 1);
            let mut command = mesh.command(&["agent", "--service", "echo", "--port", "8000"]);
            command.args(["--forward-to", &program, "--name", &name, "--address", &address]);
            command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap()).spawn().unwrap()
        };
        Self((0..count).map(one).collect())
    }
}

impl Drop for Sidecars {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// Each with a certificate of its own, and a share of the load.
#[test]
fn two_hundred_proxies_under_load_change_roots_without_a_failed_request() {
    let mesh = Mesh::start(&["--no-sample"]);
    let sidecars = Sidecars::start(&mesh, PROXIES, program());
    mesh.apply(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web}\nspec:\n  selector: {istio: ingressgateway}\n  \
         servers:\n  - port: {number: 8080, name: http, protocol: HTTP}\n    hosts: ['*']\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\nspec:\n  hosts: ['*']\n  \
         gateways: [web]\n  http:\n  - route: [{destination: {host: echo}}]\n",
    );
    let ready = || {
        let endpoints: Value = serde_json::from_str(&mesh.ok(&["endpoints", "echo", "-o", "json"])).unwrap();
        let healthy = |endpoint: &&Value| endpoint["health"] == "healthy";
        endpoints["items"].as_array().is_some_and(|items| items.iter().filter(healthy).count() == PROXIES)
    };
    until("all serve", Duration::from_secs(240), ready);
    until("all are in step", Duration::from_secs(120), || mesh.all_synced());
    let before = roots(&mesh);
    let load = Load::start(mesh.gateway(), "/", 100);

    let told = mesh.ok(&["ca", "rotate"]);
    assert!(told.contains("one root is trusted"), "{told}");
    let after = roots(&mesh);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    let outcome = load.run_until(5 * PROXIES as u64);
    assert_eq!(outcome.failed(), 0, "{outcome:?}");
    drop(sidecars);
}
