//! Two control planes on one etcd: what one is told the other knows, workloads of one are endpoints of both, and a
//! restart of etcd in between loses nothing.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::control_plane::{ControlPlane, LIMIT};
use crate::etcd::Server;
use crate::mesh::{text, until};
use crate::process::Process;

#[test]
fn two_control_planes_on_one_etcd_are_one_mesh() {
    let mut server = Server::start();
    let (mut one, mut other) = (ControlPlane::new(), ControlPlane::new());
    let place = server.place();
    let store = ["--store", &*place];
    one.start(&store);

    // With a root of its own, a second one would sign what nobody verifies.
    let refused = other.prepared(&store).output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("another root of trust"), "{}", text(&refused));
    std::fs::remove_dir_all(other.path().join("control-plane/ca")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(one.path().join("control-plane/ca")).arg(other.path().join("control-plane"));
    assert!(copy.status().unwrap().success());
    other.start(&store);

    let applied = one.apply("first");
    assert!(applied.status.success(), "{}", text(&applied));
    let begun = Instant::now();
    until("the other control plane to know", LIMIT, || other.host() == "first");
    println!("the other control plane knew after at most {:?}", begun.elapsed());
    assert_eq!(other.json(&["history", "-o", "json"])["items"].as_array().unwrap().len(), 1);

    // A workload that is connected to one is an endpoint of both.
    let address = one.address();
    let xds = address["xds"].as_str().unwrap();
    let agent = one
        .command(&[
            "agent",
            "--service",
            "quotes",
            "--port",
            "9080",
            "--forward-to",
            "127.0.0.1:9",
            "--address",
            "127.0.99.7",
            "--control-plane",
            xds,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let agent = Process(agent.unwrap());
    until("the workload at one", LIMIT, || one.endpoints("quotes") == 1);
    until("the workload at the other", LIMIT, || other.endpoints("quotes") == 1);

    // etcd is away and comes back: what is told meanwhile waits for it.
    server.stop();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| one.apply("second"));
        server.run();
        let applied = waiting.join().unwrap();
        assert!(applied.status.success(), "{}", text(&applied));
    });
    until("the other control plane to know again", LIMIT, || other.host() == "second");
    assert_eq!((one.host().as_str(), one.endpoints("quotes"), other.endpoints("quotes")), ("second", 1, 1));
    drop(agent);
}
