//! `weft doctor` against a control plane that is well, one that is not there, one that tells of trouble, and on a
//! machine that joined.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::control_plane::ControlPlane;

fn doctor(data: &Path, state: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("--data-dir").arg(data).arg("doctor").arg("--state-dir").arg(state);
    command.args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A machine that joined, whose agent answers names at this address.
fn joined(names: SocketAddr) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let joining = json!({
        "control_plane": "https://127.0.0.1:1", "trust_domain": "cluster.local", "member": "m", "workload_group": "g",
        "workload": null, "address": null, "labels": {}, "locality": null, "forward": {},
        "listen_dns": names.to_string(), "workers": 1, "drain_ms": 1, "made": [], "unit": null, "capture": null,
    });
    std::fs::write(dir.path().join("join.json"), joining.to_string()).unwrap();
    dir
}

/// A control plane that says what it is told to, with a clock of long ago.
fn told(problems: Value) -> (TempDir, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("token"), "weft_pat_x").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let body = match first.split(' ').nth(1).unwrap_or_default() {
                path if path.contains("problems") => json!({ "items": problems, "total": 1, "revision": 1 }),
                path if path.contains("overview") => json!({
                    "mesh": { "version": "0.0.1" }, "proxies": { "total": 2, "synced": 1, "stale": 1, "nack": 0 },
                    "certificates": { "expiring": [], "root_not_after": 4_000_000_000_u64 },
                }),
                _ => json!({}),
            };
            let body = body.to_string();
            let head = "HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\ncontent-type: application/json\r\n";
            let _ = write!(stream, "{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    (data, url)
}

#[test]
fn what_was_looked_at_and_is_well_is_said() {
    let mesh = ControlPlane::start();
    let state = tempfile::tempdir().unwrap();
    let output = doctor(mesh.data.path(), state.path(), &[]);
    let told = text(&output);
    for well in [
        "ok: the control plane answers",
        "ok: the clocks agree",
        "ok: this program and the control plane are of one version",
        "ok: 0 of 0 proxies are in step",
        "ok: no proxy refused its configuration (NACK)",
        "ok: the proxies are of the control plane's version",
        "ok: the certificate authority is good for ",
        "ok: the certificates of connected proxies are renewed in time",
        "ok: capture: this machine did not join",
        "ok: DNS: this machine did not join",
    ] {
        assert!(told.contains(well), "{well}\n{told}");
    }
    // Other tests may have the ports of an agent meanwhile, which is a warning.
    assert!(told.contains("ok: the ports of an agent are free") || told.contains("WFT1501"), "{told}");
    assert_eq!(output.status.code(), Some(0), "{told}");
}

#[test]
fn a_control_plane_that_cannot_be_reached_has_an_exit_code_of_its_own() {
    let (data, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(data.path().join("token"), "weft_pat_x").unwrap();
    // Its port is taken, and nobody listens.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed = taken.local_addr().unwrap().as_socket().unwrap();
    let output = doctor(data.path(), state.path(), &["--api", &format!("http://{closed}")]);
    assert!(text(&output).contains("WFT1001 error: control plane: "), "{}", text(&output));
    assert!(text(&output).contains("ok: DNS: "), "the machine is looked at all the same: {}", text(&output));
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
}

#[test]
fn clocks_versions_refusals_and_the_authority_are_told_with_their_codes() {
    let problem = |code: &str| json!({ "code": code, "severity": "error", "title": "", "object": "x", "message": "m", "hint": "h" });
    let (data, url) = told(json!([problem("WFT1301"), problem("WFT1402")]));
    let state = tempfile::tempdir().unwrap();
    let output = doctor(data.path(), state.path(), &["--api", &url]);
    let told = text(&output);
    for found in ["WFT1003 error: clock: ", "WFT1002 warning: weft: ", "WFT1301 error: x: m", "WFT1402 error: x: m"] {
        assert!(told.contains(found), "{found}\n{told}");
    }
    assert!(told.contains("WFT1302 warning: proxies: 1 of 2"), "{told}");
    for well in ["no proxy refused", "the certificate authority is good", "the clocks agree", "are in step"] {
        assert!(!told.contains(well), "{well}\n{told}");
    }
    assert_eq!(output.status.code(), Some(4), "{told}");
}

#[test]
fn the_agent_of_a_machine_that_joined_is_asked_for_a_name() {
    let (data, url) = told(json!([]));
    let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let state = joined(agent.local_addr().unwrap());
    let address = agent.local_addr().unwrap();
    let answers = std::thread::spawn(move || {
        let mut question = [0; 512];
        let (size, from) = agent.recv_from(&mut question).unwrap();
        question[2] |= 0x80;
        agent.send_to(&question[..size], from).unwrap();
    });
    let output = doctor(data.path(), state.path(), &["--api", &url]);
    answers.join().unwrap();
    let told = text(&output);
    assert!(told.contains(&format!("ok: the agent answers names at {address}")), "{told}");
    assert!(told.contains("ok: capture: this machine joined without it"), "{told}");
    // It is gone now: its port refuses, or says nothing.
    let output = doctor(data.path(), state.path(), &["--api", &url]);
    assert!(text(&output).contains("WFT1503 warning: names: "), "{}", text(&output));
}
