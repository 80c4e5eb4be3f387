//! Machines whose connections are captured: programs that nobody changed talk mutual TLS, and the network is as it was
//! when the machine leaves, or when the control plane is lost by it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SOON;
use super::kit::{Process, tree};
use super::machine::{Machine, Program, Watch, control_plane, link, token};
use crate::mesh::{is_alive, kill, until, weft};

#[test]
fn unmodified_programs_talk_mutual_tls_by_iptables_and_redirect() {
    captured("a", ["10.214.1.", "10.214.2."], &["--capture", "--capture-dns"], "WEFT_IN_REDIRECT");
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_iptables_and_tproxy_over_ipv6() {
    captured(
        "b",
        ["fd00:214:1::", "fd00:214:2::"],
        &["--capture", "--capture-dns", "--capture-mode", "tproxy"],
        "WEFT_TPROXY",
    );
}

#[test]
fn unmodified_programs_talk_mutual_tls_by_nftables_and_redirect_over_ipv6() {
    let options = ["--capture=nftables", "--capture-dns"];
    captured("c", ["fd00:214:3::", "fd00:214:4::"], &options, "jump redirect_in");
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

/// Connections of a machine that are open before its capture begins, one each way, over which nothing was said yet.
struct Open {
    inward: TcpStream,
    outward: TcpStream,
    /// The program of the machine speaks once this file is there.
    speak: PathBuf,
    _program: Program,
}

impl Open {
    fn make(machine: &Machine, server: SocketAddr, network: &str) -> Self {
        const PROGRAM: &str = "import os, socket, sys, time\n\
            connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
            while not os.path.exists(sys.argv[3]): time.sleep(0.01)\n\
            connection.sendall(b'a word')";
        let listener = TcpListener::bind((format!("{network}1"), 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let speak = machine.root.path().join("speak");
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        let program = machine.start(&["python3", "-c", PROGRAM, &ip, &port, speak.to_str().unwrap()]);
        let (outward, _) = listener.accept().unwrap();
        Self { inward: TcpStream::connect(server).unwrap(), outward, speak, _program: program }
    }

    fn stays(mut self) {
        let read = |connection: &mut TcpStream| {
            connection.set_read_timeout(Some(SOON)).unwrap();
            let mut told = String::new();
            connection.read_to_string(&mut told).map(|_| told)
        };
        self.inward.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let told = read(&mut self.inward);
        assert!(told.as_ref().is_ok_and(|told| told.ends_with("an unmodified server\n")), "to the machine: {told:?}");
        fs::write(&self.speak, "").unwrap();
        assert_eq!(read(&mut self.outward).ok().as_deref(), Some("a word"), "from the machine");
    }
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
    let (control_plane, port) = control_plane(&["caller", "web"], if ipv6 { "::" } else { "0.0.0.0" });
    let url = |network: &str| format!("https://{}", SocketAddr::new(format!("{network}1").parse().unwrap(), port));

    let _web = server.web_server("8000");
    let _other = server.web_server("9999");
    let _ssh = server.echo_server();
    let ssh = SocketAddr::new(server.address.parse().unwrap(), 22);
    let other = SocketAddr::new(ssh.ip(), 9999);
    until("the servers", SOON, || [ssh, other].iter().all(|at| TcpStream::connect(at).is_ok()));
    let watch = Watch::start(ssh);
    let open = Open::make(&server, other, networks[1]);
    let before = [&client, &server].map(|machine| (machine.network(), tree(&machine.root.path().join("etc"))));

    // Longer than it takes to look at what a killed agent left.
    let options = [capture, &["--capture-grace", "5m"]].concat();
    client.join(&url(networks[0]), &token(&control_plane, "caller"), &options);
    let told = server.join(&url(networks[1]), &token(&control_plane, "web"), &options);
    assert!(told.contains("connections of this machine are captured"), "{told}");
    let unit = fs::read_to_string(server.root.path().join("etc/systemd/system/weft.service")).unwrap();
    assert!(unit.contains("CAP_NET_ADMIN") && unit.contains("--end-capture --unless-guarded"), "{unit}");
    let logs = [control_plane.dir("client.log"), control_plane.dir("server.log")];
    let mut agents = [client.agent(&logs[0]), server.agent(&logs[1])];
    until("capture", SOON, || logs.iter().all(|log| fs::read_to_string(log).unwrap().contains("which stays")));
    assert!(server.network().contains(mark), "{}", server.network());
    open.stays();

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
    // Its own agent may hear of the service later than the caller's.
    until("a call of its own service", SOON, || server.try_run(&curl).1 == "an unmodified server\n");
    let other = format!("http://{address}:9999/");
    assert_eq!(client.run(&["curl", "-sS", "-m", "10", &other]), "an unmodified server\n");

    // An agent that was killed leaves its rules to the next one for a while, and to whoever takes them back by hand.
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

#[test]
fn capture_is_rolled_back_when_the_control_plane_is_lost_by_it() {
    let Some(machine) = Machine::make("e", "10.214.5.", 24) else {
        eprintln!("skipped: network namespaces and packet filters need root");
        return;
    };
    let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
    // Whoever restores the first rules finds the control plane gone the moment they are in force.
    let cut = machine.root.path().join("cut");
    let program = machine.run(&["sh", "-c", "command -v iptables-restore"]);
    let script = format!(
        "{} \"$@\" || exit\n[ -e {cut} ] || {{ touch {cut}; kill -STOP -{}; }}",
        program.trim(),
        control_plane.id(),
        cut = cut.display(),
    );
    machine.tool("iptables-restore", &script);

    let before = machine.network();
    let (url, token, state) = (format!("https://10.214.5.1:{port}"), token(&control_plane, "web"), machine.state());
    let join = ["join", &url, "--token", &token, "--state-dir", state.to_str().unwrap(), "--drain", "0s"];
    let join = [&join[..], &["--capture", "--capture-timeout", "3s", "--foreground"]].concat();
    let log = control_plane.dir("agent.log");
    let said = || fs::read_to_string(&log).unwrap();
    let within = machine.within(&[]);
    let within: Vec<&str> = within.iter().map(String::as_str).collect();
    let mut agent = Process::start(&within, &join, Path::new("/nonexistent"), &log);
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
