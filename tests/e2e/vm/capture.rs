//! Machines whose connections are captured: programs that nobody changed talk mutual TLS, and the network is as it was
//! when the machine leaves, or when the control plane is lost by it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SOON;
use super::kit::{ControlPlane, Process, tree};
use super::namespace::{Namespace, ip};
use crate::mesh::{is_alive, kill, text, until, weft};

/// A machine with a network of its own, where programs are started as anywhere.
struct Machine {
    namespace: Namespace,
    /// Its own address, by which it reaches the control plane.
    address: String,
    /// Its files.
    root: tempfile::TempDir,
}

impl Machine {
    /// `None` where that is not allowed. The network is `PREFIX{number}`, with the control plane at 1 and it at 2.
    fn make(tag: &str, network: &str, length: u8) -> Option<Self> {
        let namespace = Namespace::make(tag)?;
        let nodad: &[&str] = if network.contains(':') { &["nodad"] } else { &[] };
        let (host, address) = (format!("{network}1/{length}"), format!("{network}2/{length}"));
        assert!(ip(&[&["addr", "add", &host, "dev", &namespace.link], nodad].concat()));
        assert!(namespace.ip(&[&["addr", "add", &address, "dev", "eth0"], nodad].concat()));
        assert!(namespace.ip(&["route", "add", "default", "via", &format!("{network}1")]));
        let root = tempfile::TempDir::new().unwrap();
        // Nobody answers there.
        fs::write(root.path().join("resolv.conf"), format!("nameserver {network}1\n")).unwrap();
        fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
        // What else is there, and has to stay.
        let machine = Self { namespace, address: format!("{network}2"), root };
        machine.run(&["iptables", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "--dport", "7", "-j", "REDIRECT"]);
        machine.run(&[
            "nft",
            "add table inet other { chain input { type filter hook input priority 0; tcp dport 7 drop; }; }",
        ]);
        Some(machine)
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("var/lib/weft")
    }

    /// A command as the machine runs it, which has a nameserver of its own.
    fn within(&self, arguments: &[&str]) -> Vec<String> {
        let resolv_conf = self.root.path().join("resolv.conf");
        let mount = "mount --bind $0 $(readlink -f /etc/resolv.conf) && exec \"$@\"";
        let before = self.namespace.exec(&["sh", "-c", mount, resolv_conf.to_str().unwrap()]);
        before.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
    }

    /// What a command says, and whether it succeeded.
    fn try_run(&self, arguments: &[&str]) -> (bool, String) {
        let words = self.within(arguments);
        let output = Command::new(&words[0]).args(&words[1..]).env_remove("WEFT_TOKEN").output().unwrap();
        (output.status.success(), text(&output))
    }

    fn run(&self, arguments: &[&str]) -> String {
        let (succeeded, told) = self.try_run(arguments);
        assert!(succeeded, "{arguments:?}: {told}");
        told
    }

    fn start(&self, arguments: &[&str]) -> Program {
        let words = self.within(&[&["timeout", "300"], arguments].concat());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Program(command.spawn().unwrap())
    }

    /// An unmodified server of the file `index.html`.
    fn web_server(&self, port: &str) -> Program {
        let www = self.root.path().join("www");
        fs::create_dir_all(&www).unwrap();
        fs::write(www.join("index.html"), "an unmodified server\n").unwrap();
        self.start(&["python3", "-m", "http.server", port, "--bind", "::", "-d", www.to_str().unwrap()])
    }

    fn join(&self, control_plane: &str, token: &str, options: &[&str]) -> String {
        let (state, root) = (self.state(), self.root.path());
        let join = [weft(), "join", control_plane, "--token", token, "--state-dir", state.to_str().unwrap()];
        self.run(&[&join[..], &["--root", root.to_str().unwrap(), "--drain", "0s"], options].concat())
    }

    /// As systemd would.
    fn agent(&self, log: &Path) -> Process {
        let state = self.state();
        let agent = ["agent", "--state-dir", state.to_str().unwrap()];
        let before = self.within(&[]);
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        Process::start(&before, &agent, Path::new("/nonexistent"), log)
    }

    /// All that capture could leave behind in the system.
    fn network(&self) -> String {
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

    fn captures(&self) -> bool {
        let rules = self.network();
        rules.contains("WEFT_OUTPUT") || rules.contains("table inet weft")
    }
}

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Connects to a port again and again, as somebody would who depends on it.
struct Watch {
    stop: Arc<AtomicBool>,
    attempts: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Watch {
    fn start(address: SocketAddr) -> Self {
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

    fn failures(mut self) -> (usize, Vec<String>) {
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
fn group(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: {name}}}\nspec:\n  metadata: {{labels: {{app: {name}}}}}\n  \
         template: {{ports: {{http: 8000}}, serviceAccount: {name}}}\n"
    )
}

fn control_plane(groups: &[&str], any: &str, here: &str) -> (ControlPlane, u16) {
    let port = TcpListener::bind((here, 0)).unwrap().local_addr().unwrap().port();
    let control_plane = ControlPlane::start_at(SocketAddr::new(any.parse().unwrap(), port), &[]);
    for name in groups {
        control_plane.mesh(&["apply", "-f", "-"], &group(name));
    }
    (control_plane, port)
}

fn token(control_plane: &ControlPlane, group: &str) -> String {
    control_plane.mesh(&["token", "create", "--workload-group", group], "").trim().to_owned()
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_iptables_and_redirect() {
    captured("a", ["10.214.1.", "10.214.2."], &["--capture", "--capture-dns"], "WEFT_IN_REDIRECT");
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_iptables_and_tproxy_over_ipv6() {
    captured("b", ["fd00:214:1::", "fd00:214:2::"], &["--capture", "--capture-mode", "tproxy"], "WEFT_TPROXY");
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_nftables_and_redirect_over_ipv6() {
    captured("c", ["fd00:214:3::", "fd00:214:4::"], &["--capture=nftables"], "jump redirect_in");
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_nftables_and_tproxy() {
    captured(
        "d",
        ["10.214.3.", "10.214.4."],
        &["--capture=nftables", "--capture-dns", "--capture-mode", "tproxy"],
        "tproxy ip to",
    );
}

/// Two machines that join with capture, a link between them, and one to the control plane each.
fn captured(tag: &str, networks: [&str; 2], capture: &[&str], mark: &str) {
    let ipv6 = networks[0].contains(':');
    let length = if ipv6 { 64 } else { 24 };
    let client = Machine::make(&format!("{tag}1"), networks[0], length);
    let server = Machine::make(&format!("{tag}2"), networks[1], length);
    let (Some(client), Some(server)) = (client, server) else {
        eprintln!("skipped: network namespaces and packet filters need root");
        return;
    };
    link(&client, &server);
    let (control_plane, port) =
        control_plane(&["caller", "web"], if ipv6 { "::" } else { "0.0.0.0" }, &format!("{}1", networks[0]));
    let url = |network: &str| format!("https://{}", SocketAddr::new(format!("{network}1").parse().unwrap(), port));

    let _web = server.web_server("8000");
    let _other = server.web_server("9999");
    let _ssh = server.web_server("22");
    let ssh = SocketAddr::new(server.address.parse().unwrap(), 22);
    until("the server", SOON, || std::net::TcpStream::connect(ssh).is_ok());
    let watch = Watch::start(ssh);
    let before = [&client, &server].map(|machine| (machine.network(), tree(&machine.root.path().join("etc"))));

    client.join(&url(networks[0]), &token(&control_plane, "caller"), capture);
    let told = server.join(&url(networks[1]), &token(&control_plane, "web"), capture);
    assert!(told.contains("connections of this machine are captured"), "{told}");
    let unit = fs::read_to_string(server.root.path().join("etc/systemd/system/weft.service")).unwrap();
    assert!(unit.contains("CAP_NET_ADMIN") && unit.contains("--end-capture"), "{unit}");
    let logs = [control_plane.dir("client.log"), control_plane.dir("server.log")];
    let mut agents = [client.agent(&logs[0]), server.agent(&logs[1])];
    until("capture", SOON, || logs.iter().all(|log| fs::read_to_string(log).unwrap().contains("which stays")));
    assert!(server.network().contains(mark), "{}", server.network());

    let address = if ipv6 { format!("[{}]", server.address) } else { server.address.clone() };
    let resolve = format!("web.default:8000:{address}");
    // With DNS captured, nobody says it but the agent.
    let named = capture.contains(&"--capture-dns");
    let curl = if named { vec!["curl"] } else { vec!["curl", "--resolve", &resolve] };
    let curl = [&curl[..], &["-sS", "-m", "10", "http://web.default:8000/"]].concat();
    let stats = ["curl", "-sS", "http://127.0.0.1:15000/stats/prometheus"];
    let mutual = |stats: &str| {
        stats.lines().any(|line| {
            line.starts_with("istio_requests_total{reporter=\"destination\"")
                && line.contains("source_principal=\"spiffe://cluster.local/ns/default/sa/caller\"")
                && line.contains("connection_security_policy=\"mutual_tls\"")
        })
    };
    // Until the caller hears of the service, what is dialled by address passes through as it is.
    until("a call with mutual TLS in the statistics", SOON, || {
        client.try_run(&curl).1 == "an unmodified server\n" && mutual(&server.run(&stats))
    });

    // A machine calls its own service through the proxy too; what is nobody's of the mesh is let through.
    assert_eq!(server.run(&curl), "an unmodified server\n");
    let other = format!("http://{address}:9999/");
    assert_eq!(client.run(&["curl", "-sS", "-m", "10", &other]), "an unmodified server\n");

    // An agent that was killed leaves its rules to what systemd starts after it, and comes back with them.
    let killed = fs::read_to_string(server.state().join("agent.lock")).unwrap().parse().unwrap();
    kill(killed);
    until("the agent's end", SOON, || agents[1].has_ended() && !is_alive(killed));
    assert!(server.captures());
    let state = server.state();
    server.run(&[weft(), "agent", "--state-dir", state.to_str().unwrap(), "--end-capture"]);
    assert_eq!(server.network(), before[1].0);
    agents[1] = server.agent(&logs[1]);
    until("capture after a restart", SOON, || server.captures());
    until("a call after a restart", SOON, || client.try_run(&curl).1 == "an unmodified server\n");

    for (machine, (network, files)) in [&client, &server].into_iter().zip(before) {
        let state = machine.state();
        assert!(machine.run(&[weft(), "leave", "--state-dir", state.to_str().unwrap()]).contains("left the mesh"));
        assert_eq!(machine.network(), network);
        assert_eq!(tree(&machine.root.path().join("etc")), files);
        assert!(!machine.root.path().join("var").exists());
    }
    let (attempts, failures) = watch.failures();
    assert!(attempts > 0 && failures.is_empty(), "of {attempts} connections to port 22 failed: {failures:?}");
}

/// A direct way between two machines, to each other's own addresses.
fn link(client: &Machine, server: &Machine) {
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

#[test]
fn capture_is_rolled_back_when_the_control_plane_is_lost_by_it() {
    let Some(machine) = Machine::make("e", "10.214.5.", 24) else {
        eprintln!("skipped: network namespaces and packet filters need root");
        return;
    };
    let (control_plane, port) = control_plane(&["web"], "0.0.0.0", "10.214.5.1");
    // Whoever restores the first rules finds the control plane gone the moment they are in force.
    let tools = machine.root.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let (cut, script) = (machine.root.path().join("cut"), tools.join("iptables-restore"));
    let program = machine.run(&["sh", "-c", "command -v iptables-restore"]);
    let stop = format!(
        "#!/bin/sh\n{} \"$@\" || exit\n[ -e {cut} ] || {{ touch {cut}; kill -STOP -{}; }}\n",
        program.trim(),
        control_plane.id(),
        cut = cut.display(),
    );
    fs::write(&script, stop).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("PATH={}:{}", tools.display(), std::env::var("PATH").unwrap());

    let before = machine.network();
    let (url, token, state) = (format!("https://10.214.5.1:{port}"), token(&control_plane, "web"), machine.state());
    let join = ["join", &url, "--token", &token, "--state-dir", state.to_str().unwrap(), "--drain", "0s"];
    let join = [&join[..], &["--capture", "--capture-timeout", "3s", "--foreground"]].concat();
    let log = control_plane.dir("agent.log");
    let said = || fs::read_to_string(&log).unwrap();
    let environment = machine.namespace.exec(&["env", &path]);
    let mut agent = Process::start(&environment, &join, Path::new("/nonexistent"), &log);
    until("the word of it", SOON, || {
        said().contains("capture was rolled back: the control plane could not be reached")
    });
    until("the network as it was", SOON, || machine.network() == before);
    assert!(cut.exists());

    // The machine stays a member, without capture even after a restart.
    assert!(
        Command::new("kill").args(["-CONT", "--", &format!("-{}", control_plane.id())]).status().unwrap().success()
    );
    agent.stop();
    let _agent = machine.agent(&log);
    until("its word of the restart", SOON, || said().contains("run weft join again"));
    let proxy = ["curl", "-sS", "-o", "/dev/null", "-m", "10", "http://127.0.0.1:15021/healthz/ready"];
    until("the proxy", SOON, || machine.try_run(&proxy).0);
    assert_eq!(machine.network(), before);
    assert!(machine.run(&[weft(), "leave", "--state-dir", state.to_str().unwrap()]).contains("left the mesh"));
    assert_eq!(machine.network(), before);
}
