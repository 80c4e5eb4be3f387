//! A machine that loses its power while it captures, with all that the kernel, /run and its processes knew.

use std::fs;

use super::SOON;
use super::machine::{Machine, control_plane, token};
use crate::mesh::{is_alive, kill, until};

#[test]
fn a_machine_comes_back_from_a_reboot_with_all_that_it_was() {
    let Some(machine) = Machine::make("r", "10.214.21.", 24) else {
        eprintln!("skipped: network namespaces and packet filters need root");
        return;
    };
    let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
    machine.join(
        &format!("https://10.214.21.1:{port}"),
        &token(&control_plane, "web"),
        &["--capture", "--capture-dns", "--capture-grace", "5m"],
    );
    let (log, state) = (control_plane.dir("agent.log"), machine.state());
    let stats = ["curl", "-sS", "http://127.0.0.1:15000/stats/prometheus"];
    let serves = |machine: &Machine| {
        let called = machine.try_run(&["curl", "-sS", "-m", "10", "http://web.default:8000/"]).1;
        let counted = machine.run(&stats);
        let mutual = counted.lines().any(|line| {
            line.starts_with("istio_requests_total{reporter=\"destination\"") && line.contains("\"mutual_tls\"")
        });
        called == "an unmodified server\n" && mutual
    };
    let web = machine.web_server("8000");
    let mut agent = machine.agent(&log);
    until("capture", SOON, || fs::read_to_string(&log).unwrap().contains("which stays"));
    until("a call with mutual TLS", SOON, || serves(&machine));
    let registered = control_plane.mesh(&["endpoints", "web", "-o", "json"], "");

    let killed: u32 = fs::read_to_string(state.join("agent.lock")).unwrap().parse().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&fs::read(state.join("capture.json")).unwrap()).unwrap();
    let guard = u32::try_from(record["guard"].as_u64().unwrap()).unwrap();
    kill(killed);
    kill(guard);
    drop(web);
    until("darkness", SOON, || agent.has_ended() && !is_alive(killed) && !is_alive(guard));
    let before = machine.root.path().join("run/before");
    fs::write(&before, "").unwrap();
    machine.reboot();
    assert!(!before.exists() && !machine.captures());
    // What changed while nobody looked.
    machine.tool("sshd", "[ \"$*\" = -T ] && echo port 2201");

    let _web = machine.web_server("8000");
    let _agent = machine.agent(&log);
    until("capture after the reboot", SOON, || machine.captures());
    until("a call with mutual TLS after the reboot", SOON, || serves(&machine));
    assert!(machine.network().contains("--dport 2201 -j RETURN"), "{}", machine.network());
    until("the same registration", SOON, || {
        let names = |listing: &str| {
            let listing: serde_json::Value = serde_json::from_str(listing).unwrap();
            let one = &listing["items"][0];
            (listing["items"].as_array().unwrap().len(), one["address"].clone(), one["health"].clone())
        };
        names(&control_plane.mesh(&["endpoints", "web", "-o", "json"], "")) == names(&registered)
    });
}
