//! Agents that are killed or hang while they capture: the machine gets its network back, or the next agent takes it over.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::SOON;
use super::kit::{ControlPlane, Process};
use super::machine::{Machine, Program, Watch, control_plane, token};
use crate::mesh::{is_alive, kill, until, weft};

/// A machine with somebody logged in, and the control plane that it is to join.
struct Scene {
    machine: Machine,
    control_plane: ControlPlane,
    url: String,
    before: String,
    session: TcpStream,
    watch: Watch,
    log: PathBuf,
    _ssh: Program,
}

impl Scene {
    fn set(tag: &str, network: &str) -> Option<Self> {
        let Some(machine) = Machine::make(tag, network, 24) else {
            eprintln!("skipped: network namespaces and packet filters need root");
            return None;
        };
        let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
        let ssh = machine.echo_server();
        let place = SocketAddr::new(machine.address.parse().unwrap(), 22);
        until("the server", SOON, || TcpStream::connect(place).is_ok());
        Some(Self {
            before: machine.network(),
            session: TcpStream::connect(place).unwrap(),
            watch: Watch::start(place),
            url: format!("https://{network}1:{port}"),
            log: control_plane.dir("agent.log"),
            machine,
            control_plane,
            _ssh: ssh,
        })
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn says(&self, words: &str) {
        until(words, SOON, || self.said().contains(words));
    }

    fn join(&self, options: &[&str]) {
        self.machine.join(&self.url, &token(&self.control_plane, "web"), options);
    }

    /// Joins and runs the agent, with a program of its own in the place of one that sets rules.
    fn join_with(&self, script: &str, options: &[&str]) -> Process {
        let real = self.machine.run(&["sh", "-c", "command -v iptables-restore"]);
        let done = self.machine.root.path().join("done");
        let script = script.replace("REAL", real.trim()).replace("DONE", done.to_str().unwrap());
        self.machine.tool("iptables-restore", &script);
        let (token, state) = (token(&self.control_plane, "web"), self.machine.state());
        let join = ["join", &self.url, "--token", &token, "--state-dir", state.to_str().unwrap(), "--drain", "0s"];
        let join = [&join[..], &["--capture", "--foreground"], options].concat();
        let within = self.machine.within(&[]);
        let within: Vec<&str> = within.iter().map(String::as_str).collect();
        Process::start(&within, &join, Path::new("/nonexistent"), &self.log)
    }

    fn agent(&self) -> u32 {
        fs::read_to_string(self.machine.state().join("agent.lock")).unwrap().parse().unwrap()
    }

    fn guard(&self) -> Option<u32> {
        let record = fs::read(self.machine.state().join("capture.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["guard"].as_u64().map(|guard| u32::try_from(guard).unwrap())
    }

    /// Whoever is logged in noticed nothing, and everybody could log in at any time.
    fn ends_undisturbed(mut self) {
        self.session.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        self.session.write_all(b"still here").unwrap();
        let mut answer = [0; 10];
        self.session.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still here");
        let (attempts, failures) = self.watch.failures();
        assert!(attempts > 0 && failures.is_empty(), "of {attempts} connections to port 22 failed: {failures:?}");
    }
}

const STAYS: &str = "which stays";
const KILLED: &str = "capture was rolled back: the agent was killed";

#[test]
fn a_machine_whose_agent_is_killed_gets_its_network_back_by_iptables() {
    killed("k1", "10.214.11.", &["--capture", "--capture-dns"]);
}

#[test]
fn a_machine_whose_agent_is_killed_gets_its_network_back_by_nftables_and_tproxy() {
    killed("k2", "10.214.12.", &["--capture=nftables", "--capture-mode", "tproxy"]);
}

fn killed(tag: &str, network: &str, options: &[&str]) {
    let Some(scene) = Scene::set(tag, network) else { return };
    scene.join(&[options, &["--capture-grace", "1s"]].concat());
    let mut agent = scene.machine.agent(&scene.log);
    scene.says(STAYS);
    assert!(scene.machine.captures());

    // With all of its process group.
    let group = format!("-{}", agent.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    until("its end", SOON, || agent.has_ended());
    scene.says(KILLED);
    assert_eq!(scene.machine.network(), scene.before);
    assert_eq!(scene.guard(), None);

    // It was no verdict on capture: the next agent captures again, and takes it back when it ends in order.
    let mut agent = scene.machine.agent(&scene.log);
    until("capture by the next agent", SOON, || scene.machine.captures());
    let guard = scene.guard().unwrap();
    agent.stop();
    assert_eq!(scene.machine.network(), scene.before);
    until("the guard's end", SOON, || !is_alive(guard));
    scene.ends_undisturbed();
}

#[test]
fn an_agent_that_starts_in_time_takes_over_what_a_killed_one_captured() {
    let Some(scene) = Scene::set("k3", "10.214.13.") else { return };
    scene.join(&["--capture", "--capture-grace", "5m"]);
    let mut agent = scene.machine.agent(&scene.log);
    scene.says(STAYS);
    let first = scene.guard().unwrap();
    kill(scene.agent());
    until("its end", SOON, || agent.has_ended());
    assert!(scene.machine.captures() && is_alive(first));

    let mut agent = scene.machine.agent(&scene.log);
    until("the end of the first guard", SOON, || !is_alive(first));
    assert!(scene.machine.captures());
    assert!(!scene.said().contains(KILLED));

    // A guard that is killed is replaced; where agent and guard are, the next agent finds what they left.
    let second = scene.guard().unwrap();
    kill(second);
    until("another guard", SOON, || scene.guard().is_some_and(|guard| guard != second && is_alive(guard)));
    let third = scene.guard().unwrap();
    kill(scene.agent());
    kill(third);
    until("their end", SOON, || agent.has_ended() && !is_alive(third));
    assert!(scene.machine.captures());
    let state = scene.machine.state();
    let unless = ["agent", "--state-dir", state.to_str().unwrap(), "--end-capture", "--unless-guarded"];
    scene.machine.run(&[&[weft()], &unless[..]].concat());
    assert_eq!(scene.machine.network(), scene.before);
    scene.ends_undisturbed();
}

#[test]
fn an_agent_that_is_killed_while_it_sets_its_rules_leaves_none() {
    let Some(scene) = Scene::set("k4", "10.214.14.") else { return };
    // What sets them would go on for longer than its guard waits for another agent.
    let script = "[ -e DONE ] || { echo $$ > DONE; kill -KILL $PPID; sleep 3; }\nexec REAL \"$@\"";
    let mut agent = scene.join_with(script, &["--capture-grace", "1s"]);
    until("its end", SOON, || agent.has_ended());
    scene.says(KILLED);
    let tool = fs::read_to_string(scene.machine.root.path().join("done")).unwrap().trim().parse().unwrap();
    until("the end of what sets rules", SOON, || !is_alive(tool));
    assert_eq!(scene.machine.network(), scene.before);
    scene.ends_undisturbed();
}

#[test]
fn an_agent_that_hangs_before_the_control_plane_is_reached_is_rolled_back_for() {
    let Some(scene) = Scene::set("k5", "10.214.15.") else { return };
    let script = "[ -e DONE ] && exec REAL \"$@\"\nREAL \"$@\"; touch DONE; kill -STOP $PPID";
    let mut agent = scene.join_with(script, &["--capture-timeout", "1s"]);
    scene.says("capture was rolled back: the agent hung");
    assert_eq!(scene.machine.network(), scene.before);

    // Nor does it capture once it goes on.
    assert!(Command::new("kill").args(["-CONT", &scene.agent().to_string()]).status().unwrap().success());
    until("its own word of it", SOON, || scene.said().matches("capture was rolled back").count() > 1);
    until("the network as it was", SOON, || scene.machine.network() == scene.before);
    agent.stop();
    assert_eq!(scene.machine.network(), scene.before);
    scene.ends_undisturbed();
}
