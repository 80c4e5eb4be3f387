//! A machine in a network namespace: joined over a real link, called by programs that know nothing, and moved.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Process};
use crate::mesh::{text, until};
use crate::ports::free;

/// A namespace and the link to it, which both go with it.
pub struct Namespace {
    pub name: String,
    pub link: String,
}

impl Namespace {
    /// `None` where that is not allowed.
    pub fn make(family: &str) -> Option<Self> {
        let pid = std::process::id();
        let namespace = Self { name: format!("weft{family}-{pid}"), link: format!("wv{family}-{pid}") };
        (nix::unistd::geteuid().is_root() && namespace.create()).then_some(namespace)
    }

    pub fn create(&self) -> bool {
        let link = ["link", "add", &self.link, "type", "veth", "peer", "name", "eth0", "netns", &self.name];
        ip(&["netns", "add", &self.name])
            && ip(&link)
            && ip(&["link", "set", &self.link, "up"])
            && self.ip(&["link", "set", "lo", "up"])
            && self.ip(&["link", "set", "eth0", "up"])
    }

    pub fn ip(&self, arguments: &[&str]) -> bool {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    pub fn exec<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["ip", "netns", "exec", &self.name], arguments].concat()
    }

    pub fn remove(&self) {
        // The namespace takes its end of the link with it, only later.
        let _ = ip(&["link", "del", &self.link]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.remove();
    }
}

pub fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_machine_on_another_network_joins_calls_and_moves_to_a_new_ipv4_address() {
    machine("4", ["10.213.7.1", "10.213.7.2", "10.213.7.3"], "24");
}

#[test]
fn a_machine_on_another_network_joins_calls_and_moves_to_a_new_ipv6_address() {
    machine("6", ["fd00:213:7::1", "fd00:213:7::2", "fd00:213:7::3"], "64");
}

/// The control plane and a service are at the first address, the machine at the second, and later at the third.
fn machine(family: &str, addresses: [&str; 3], length: &str) {
    let Some(namespace) = Namespace::make(family) else {
        eprintln!("skipped: network namespaces need root and the ip command");
        return;
    };
    let [host, first, second] = addresses.map(|address| format!("{address}/{length}"));
    // Without it an IPv6 address is of no use for its first seconds.
    let nodad: &[&str] = if family == "6" { &["nodad"] } else { &[] };
    assert!(ip(&[&["addr", "add", &host, "dev", &namespace.link], nodad].concat()));
    assert!(namespace.ip(&[&["addr", "add", &first, "dev", "eth0"], nodad].concat()));

    let here: IpAddr = addresses[0].parse().unwrap();
    // On all addresses of its machine: the joining one proves it by the token, under any name.
    let any = if family == "6" { "::" } else { "0.0.0.0" };
    let place = free(any.parse::<IpAddr>().unwrap());
    let control_plane = ControlPlane::start_at(place, &[]);
    control_plane.mesh(&["apply", "-f", "-"], GROUP);
    let (echo, app) = (App::start(), App::start());
    let forward = format!("127.0.0.1:{}", echo.port);
    let service = ["agent", "--service", "echo", "--port", "8000", "--address", addresses[0], "--forward-to", &forward];
    let _service = Process::start(&[], &service, &control_plane.dir(""), &control_plane.dir("echo.log"));

    let (url, token) = (format!("https://{}", SocketAddr::new(here, place.port())), control_plane.token(&[]));
    let (state, forward) = (control_plane.dir("vm"), app.forward());
    let join = ["join", &url, "--token", &token, "--state-dir", state.to_str().unwrap(), "--forward-to", &forward];
    let join = [&join[..], &["--foreground", "--drain", "0s"]].concat();
    let log = control_plane.dir("agent.log");
    let _vm = Process::start(&namespace.exec(&[]), &join, Path::new("/nonexistent"), &log);

    let curl = || {
        let words = ["curl", "-sS", "-m", "10", "-x", "http://127.0.0.1:15088", "http://echo:8000/"];
        let words = namespace.exec(&words);
        text(&Command::new(words[0]).args(&words[1..]).output().unwrap())
    };
    let calls = || {
        let answer = curl();
        answer.contains("sa/bookinfo-reviews") && answer.contains("GET / HTTP/1.1")
    };
    until("a call out of the namespace with mutual TLS", SOON, calls);
    let is_at = |address: &str| control_plane.endpoint().is_some_and(|endpoint| endpoint["address"] == address);
    until("its registration", SOON, || is_at(addresses[1]));

    // Nobody else reaches the machine's way out.
    let address = SocketAddr::new(addresses[1].parse().unwrap(), 15088);
    assert!(std::net::TcpStream::connect(address).is_err());

    assert!(namespace.ip(&["addr", "del", &first, "dev", "eth0"]));
    assert!(namespace.ip(&[&["addr", "add", &second, "dev", "eth0"], nodad].concat()));
    until("its registration at the new address", SOON, || is_at(addresses[2]));
    until("a call from the new address", SOON, calls);
}
