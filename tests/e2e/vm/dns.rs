//! Names of the mesh for every program on a machine: its agent answers them over DNS, and passes all others on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use serde_json::Value;

use super::SOON;
use super::kit::{App, ControlPlane, GROUP, Vm};
use crate::mesh::{get, until};
use crate::ports::free;

const OTHERS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [api.outside.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  addresses: [10.213.9.9]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 10.213.9.10}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: headless}
spec:
  hosts: [db.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: NONE
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

/// A nameserver that knows one name, with records of which an agent knows nothing.
fn nameserver() -> SocketAddr {
    let address = free([127, 0, 0, 1]);
    let (tcp, udp) = (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..length]), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            while let Ok(asked) = receive(&mut stream) {
                send(&mut stream, &answer(&asked));
            }
        }
    });
    address
}

/// `www.example.com` is at 192.0.2.80, and there is nothing else.
fn answer(asked: &[u8]) -> Vec<u8> {
    let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut answer = asked[..end].to_vec();
    answer[2] |= 0x84;
    answer[10..12].copy_from_slice(&[0, 0]);
    if answer[12..].to_ascii_lowercase().starts_with(b"\x03www\x07example\x03com\0") {
        answer[7] = 2;
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x50");
        answer.extend(b"\xc0\x0c\xff\x01\0\x01\0\0\0\x3c\0\x03any");
    } else {
        answer[3] |= 0x03;
    }
    answer
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&[&(message.len() as u16).to_be_bytes(), message].concat()).unwrap();
}

/// A question as programs put it, to one server over UDP and over TCP.
fn ask(server: SocketAddr, name: &str) -> [Vec<u8>; 2] {
    let mut asked = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name.split('.') {
        asked.push(label.len() as u8);
        asked.extend(label.bytes());
    }
    asked.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(&asked, server).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    send(&mut stream, &asked);
    [buffer[..length].to_vec(), receive(&mut stream).unwrap()]
}

/// What `dig +short` prints, and whether the name exists.
fn dig(server: SocketAddr, words: &[&str]) -> (String, bool) {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let run = |how: &[&str]| {
        let output = Command::new("dig").args([&at, "-p", &port]).args(how).args(words).output();
        let output = output.expect("dig is there; scripts/test-setup installs it");
        String::from_utf8(output.stdout).unwrap()
    };
    (run(&["+short"]), run(&[]).contains("status: NOERROR"))
}

fn given(control_plane: &ControlPlane, host: &str) -> Vec<String> {
    let listing: Value = serde_json::from_str(&control_plane.mesh(&["services", "-o", "json"], "")).unwrap();
    let service = listing["items"].as_array().unwrap().iter().find(|item| item["host"] == host).cloned();
    let addresses = service.map(|service| service["automatic_addresses"].clone()).unwrap_or_default();
    addresses.as_array().into_iter().flatten().map(|address| address.as_str().unwrap().to_owned()).collect()
}

/// Where the agent says that it answers, the last time that it does.
fn answers_at(vm: &Vm) -> Option<SocketAddr> {
    let log = vm.log();
    let said = log.lines().rfind(|line| line.contains("answering DNS"))?;
    let plain: String =
        said.split("address").nth(1)?.chars().filter(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    // The colours of a terminal leave digits behind.
    let start = plain.find("127.")?;
    plain[start..].parse().ok()
}

#[test]
fn programs_find_the_mesh_by_dns_and_the_rest_of_the_world_as_before() {
    let mut control_plane = ControlPlane::start(&[]);
    control_plane.mesh(&["apply", "-f", "-"], &format!("{GROUP}---\n{OTHERS}"));
    let (app, upstream) = (App::start(), nameserver());
    let mut vm = Vm::new(&control_plane, control_plane.dir("vm"), "127.7.9.7");
    let options =
        ["--forward-to", &app.forward(), "--listen-dns", "127.7.9.7:0", "--dns-upstream", &upstream.to_string()];
    vm.join_and_start(&control_plane.token(&[]), &options);
    until("the DNS server", SOON, || answers_at(&vm).is_some());
    let server = answers_at(&vm).unwrap();

    let host = "reviews.default.svc.cluster.local";
    until("the address of reviews", SOON, || dig(server, &[host]).0.starts_with("240.240."));
    let [v4, v6] = given(&control_plane, host).try_into().unwrap();
    for name in [host, "reviews", "reviews.default", "reviews.default.svc", "ReViews"] {
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(dig(server, &[transport, name, "A"]), (format!("{v4}\n"), true), "{name}");
            assert_eq!(dig(server, &[transport, name, "AAAA"]), (format!("{v6}\n"), true), "{name}");
        }
    }
    let outside = given(&control_plane, "api.outside.example");
    assert_eq!(dig(server, &["api.outside.example"]).0, format!("{}\n", outside[0]));
    assert_eq!(dig(server, &["any.wild.example"]).0, "10.213.9.9\n");
    assert_eq!(dig(server, &["any.wild.example", "AAAA"]), (String::new(), true));
    assert_eq!(dig(server, &["db.default"]), (String::new(), true), "it exists, and nothing is ready");

    for name in ["www.example.com", "nowhere.example.com", "wild.example"] {
        assert_eq!(ask(server, name), ask(upstream, name), "{name}");
    }
    assert_eq!(dig(server, &["www.example.com"]), dig(upstream, &["www.example.com"]));

    let admin = SocketAddr::new(server.ip(), 15000);
    let metrics = get(admin, "x", "/stats/prometheus", &[]).unwrap().body;
    for metric in ["istio_agent_dns_requests_total", "istio_agent_dns_upstream_requests_total"] {
        let counted = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix("{} "));
        assert!(counted.is_some_and(|count| count != "0"), "{metric}: {counted:?}");
    }

    // Started anew while the control plane is away, it answers as before.
    control_plane.take_down();
    vm.stop();
    vm.start();
    until("another DNS server", SOON, || vm.log().matches("answering DNS").count() == 2);
    let server = answers_at(&vm).unwrap();
    until("the kept names", SOON, || dig(server, &[host]).0 == format!("{v4}\n"));
    // A control plane that starts anew gives the same address.
    control_plane.bring_up();
    until("the service", SOON, || given(&control_plane, host) == [v4.clone(), v6.clone()]);
}
