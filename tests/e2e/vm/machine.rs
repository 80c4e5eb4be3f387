//! Machines with networks of their own, and what runs on them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::kit::{ControlPlane, Process};
use super::namespace::{Namespace, ip};
use crate::mesh::{text, weft};
use crate::ports::free;

/// A machine with a network of its own, where programs are started as anywhere.
pub struct Machine {
    pub namespace: Namespace,
    /// Its own address, by which it reaches the control plane.
    pub address: String,
    /// Its files: `run` is its /run, and programs in `tools` come before the system's.
    pub root: tempfile::TempDir,
    network: String,
    length: u8,
}

impl Machine {
    /// `None` where that is not allowed. The network is `PREFIX{number}`, with the control plane at 1 and it at 2.
    pub fn make(tag: &str, network: &str, length: u8) -> Option<Self> {
        let namespace = Namespace::make(tag)?;
        let root = tempfile::TempDir::new().unwrap();
        // Nobody answers there.
        fs::write(root.path().join("resolv.conf"), format!("nameserver {network}1\n")).unwrap();
        for directory in ["etc/systemd/system", "tools"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let machine = Self { namespace, address: format!("{network}2"), root, network: network.to_owned(), length };
        machine.boot();
        Some(machine)
    }

    /// What the system does by itself when it comes up.
    fn boot(&self) {
        let (network, length) = (&self.network, self.length);
        fs::create_dir(self.root.path().join("run")).unwrap();
        let nodad: &[&str] = if network.contains(':') { &["nodad"] } else { &[] };
        let (host, address) = (format!("{network}1/{length}"), format!("{network}2/{length}"));
        assert!(ip(&[&["addr", "add", &host, "dev", &self.namespace.link], nodad].concat()));
        assert!(self.namespace.ip(&[&["addr", "add", &address, "dev", "eth0"], nodad].concat()));
        assert!(self.namespace.ip(&["route", "add", "default", "via", &format!("{network}1")]));
        // What else is there, and has to stay; it is nothing for which the system tracks connections.
        self.run(&["iptables", "-t", "mangle", "-A", "PREROUTING", "-p", "udp", "--dport", "7", "-j", "DROP"]);
        self.run(&[
            "nft",
            "add table inet other { chain input { type filter hook input priority 0; tcp dport 7 drop; }; }",
        ]);
    }

    /// Comes up with its files as they are on disk, and nothing of what the kernel and /run knew. Whatever ran on it
    /// has been killed.
    pub fn reboot(&self) {
        fs::remove_dir_all(self.root.path().join("run")).unwrap();
        self.namespace.remove();
        assert!(self.namespace.create());
        self.boot();
    }

    /// Puts a script in the place of a program of the system.
    pub fn tool(&self, name: &str, script: &str) {
        let path = self.root.path().join("tools").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("var/lib/weft")
    }

    /// A command as the machine runs it, which has a nameserver, a /run and units of systemd of its own.
    pub fn within(&self, arguments: &[&str]) -> Vec<String> {
        const MOUNT: &str = "mount --bind $0/run /run && file=$(readlink -f /etc/resolv.conf) \
            && { [ -e $file ] || install -D /dev/null $file; } && mount --bind $0/resolv.conf $file \
            && { [ ! -d /etc/systemd/system ] || mount --bind $0/etc/systemd/system /etc/systemd/system; } \
            && PATH=$0/tools:$PATH exec \"$@\"";
        let before = self.namespace.exec(&["sh", "-c", MOUNT, self.root.path().to_str().unwrap()]);
        before.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
    }

    /// What a command says, and whether it succeeded.
    pub fn try_run(&self, arguments: &[&str]) -> (bool, String) {
        let words = self.within(arguments);
        let output = Command::new(&words[0]).args(&words[1..]).env_remove("WEFT_TOKEN").output().unwrap();
        (output.status.success(), text(&output))
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let (succeeded, told) = self.try_run(arguments);
        assert!(succeeded, "{arguments:?}: {told}");
        told
    }

    pub fn start(&self, arguments: &[&str]) -> Program {
        let words = self.within(&[&["timeout", "900"], arguments].concat());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Program(command.spawn().unwrap())
    }

    /// What says back whatever it is told, on the port of ssh.
    pub fn echo_server(&self) -> Program {
        // Its system takes connections for it while it has no time for them itself.
        const SERVER: &str = "import socket, socketserver\n\
            class Echo(socketserver.StreamRequestHandler):\n\
            \x20def handle(self):\n\
            \x20 while data := self.request.recv(99): self.request.sendall(data)\n\
            class Server(socketserver.ThreadingTCPServer):\n\
            \x20address_family = socket.AF_INET6\n\
            \x20request_queue_size = 1024\n\
            Server(('::', 22), Echo).serve_forever()";
        self.start(&["python3", "-c", SERVER])
    }

    /// An unmodified server of the file `index.html`.
    pub fn web_server(&self, port: &str) -> Program {
        let www = self.root.path().join("www");
        fs::create_dir_all(&www).unwrap();
        fs::write(www.join("index.html"), "an unmodified server\n").unwrap();
        self.start(&["python3", "-m", "http.server", port, "--bind", "::", "-d", www.to_str().unwrap()])
    }

    pub fn join(&self, control_plane: &str, token: &str, options: &[&str]) -> String {
        let (state, root) = (self.state(), self.root.path());
        let join = [weft(), "join", control_plane, "--token", token, "--state-dir", state.to_str().unwrap()];
        self.run(&[&join[..], &["--root", root.to_str().unwrap(), "--drain", "0s"], options].concat())
    }

    /// As systemd would.
    pub fn agent(&self, log: &Path) -> Process {
        let state = self.state();
        let agent = ["agent", "--state-dir", state.to_str().unwrap()];
        let before = self.within(&[]);
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        Process::start(&before, &agent, Path::new("/nonexistent"), log)
    }

    /// All that capture could leave behind in the system.
    pub fn network(&self) -> String {
        let commands = [
            "iptables-save",
            "ip6tables-save",
            "nft list ruleset",
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -o addr",
        ];
        let told = commands.map(|command| {
            let told = self.run(&command.split(' ').collect::<Vec<_>>());
            let lines = told.lines().filter(|line| !line.starts_with('#') && !line.contains("fe80:"));
            format!("== {command}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
        });
        told.concat()
    }

    pub fn captures(&self) -> bool {
        let rules = self.network();
        rules.contains("WEFT_OUTPUT") || rules.contains("table inet weft")
    }
}

/// A program that ends with the test.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Connects to a port again and again, as somebody would who depends on it.
pub struct Watch {
    stop: Arc<AtomicBool>,
    attempts: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Watch {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&attempts));
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                if let Err(error) = std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(2)) {
                    failures.push(error.to_string());
                }
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::park_timeout(std::time::Duration::from_millis(10));
            }
            failures
        });
        Self { stop, attempts, thread: Some(thread) }
    }

    pub fn failures(mut self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.thread.take().unwrap().join().unwrap();
        (self.attempts.load(Ordering::SeqCst), failures)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The group of the machines that play a part.
pub fn group(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: {name}}}\nspec:\n  metadata: {{labels: {{app: {name}}}}}\n  \
         template: {{ports: {{http: 8000}}, serviceAccount: {name}}}\n"
    )
}

/// On all addresses, of `any` family.
pub fn control_plane(groups: &[&str], any: &str) -> (ControlPlane, u16) {
    let place = free(any.parse::<IpAddr>().unwrap());
    let control_plane = ControlPlane::start_at(place, &[]);
    for name in groups {
        control_plane.mesh(&["apply", "-f", "-"], &group(name));
    }
    (control_plane, place.port())
}

pub fn token(control_plane: &ControlPlane, group: &str) -> String {
    control_plane.mesh(&["token", "create", "--workload-group", group], "").trim().to_owned()
}

/// A direct way between two machines, to each other's own addresses.
pub fn link(client: &Machine, server: &Machine) {
    let name = &server.namespace.name;
    assert!(client.namespace.ip(&["link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", name]));
    let ipv6 = client.address.contains(':');
    let (length, nodad): (u8, &[&str]) = if ipv6 { (128, &["nodad"]) } else { (32, &[]) };
    for (machine, other) in [(client, server), (server, client)] {
        let to = format!("{}/{length}", other.address);
        let own = format!("{}/{length}", machine.address);
        assert!(machine.namespace.ip(&["link", "set", "eth1", "up"]));
        // What comes in there is redirected to the address there.
        assert!(machine.namespace.ip(&[&["addr", "add", &own, "dev", "eth1"], nodad].concat()));
        assert!(machine.namespace.ip(&["route", "add", &to, "dev", "eth1", "src", &machine.address]));
    }
}
