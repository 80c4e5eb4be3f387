//! Who may send any packet to a machine gets past its capture with none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::SOON;
use super::machine::{Machine, control_plane, token};
use crate::mesh::until;

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
    metadata: {name: mesh, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n";

/// Sends a packet from the middle of a connection that there is not, and then opens that connection. One with an MD5
/// signature (RFC 2385) is not answered, so that the system's note of it stays.
const FORGER: &str = r"
import socket, struct, sys
kind, own, other, port = sys.argv[1:]
connection = socket.socket()
connection.bind((own, 0))
ends = connection.getsockname()[1], int(port)
option = b'\x13\x12' + bytes(16) + b'\x01\x01' if kind == 'signed' else b''
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def head(sum): return struct.pack('!HHIIBBHHH', *ends, 1000, 2000, (20 + len(option)) // 4 << 4, 0x10, 65535, sum, 0) + option
pseudo = socket.inet_aton(own) + socket.inet_aton(other) + struct.pack('!BBH', 0, 6, len(head(0)))
if kind != 'none':
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.sendto(head(checksum(pseudo + head(0))), (other, 0))
connection.settimeout(60)
try:
    connection.connect((other, int(port)))
    connection.sendall(b'GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n')
    while data := connection.recv(4096): sys.stdout.write(data.decode())
except ConnectionError as error: print(error)
";

/// A connection from a port of this address, or any.
fn connect(own: &str, port: u16, to: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::new(own.parse().unwrap(), port).into()).unwrap();
    socket.connect(&SocketAddr::new(to.parse().unwrap(), 8000).into()).unwrap();
    socket.into()
}

/// Whatever is answered to a request until the connection ends.
fn answer(mut connection: TcpStream) -> String {
    connection.set_read_timeout(Some(SOON)).unwrap();
    let mut told = Vec::new();
    let _ = connection.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
    let _ = connection.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

fn past(tag: &str, network: &str, capture: &[&str]) {
    let Some(machine) = Machine::make(tag, network, 24) else {
        eprintln!("skipped: network namespaces and packet filters need root");
        return;
    };
    let (control_plane, port) = control_plane(&["web"], "0.0.0.0");
    let _web = machine.web_server("8000");
    let (own, other) = (format!("{network}1"), machine.address.as_str());
    until("the server", SOON, || TcpStream::connect((other, 8000)).is_ok());
    let open = [connect(&own, 0, other), connect(&own, 0, other)];
    let url = format!("https://{network}1:{port}");
    machine.join(&url, &token(&control_plane, "web"), capture);
    let log = control_plane.dir("agent.log");
    let _agent = machine.agent(&log);
    until("capture", SOON, || std::fs::read_to_string(&log).unwrap().contains("which stays"));
    let calls = |kind: &str| {
        let mut python = Command::new("python3");
        let output = python.args(["-c", FORGER, kind, &own, other, "8000"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let is_served = |kind: &str| calls(kind).contains("an unmodified server");
    until("a call in plaintext", SOON, || is_served("none"));
    control_plane.mesh(&["apply", "-f", "-"], STRICT);
    until("only mutual TLS", SOON, || !is_served("none"));
    for kind in ["plain", "signed"] {
        assert!(!is_served(kind), "a {kind} packet opened a way past the proxy");
    }
    // What was open before goes on; its port is no way past once it ended.
    let [kept, broken] = open;
    assert!(answer(kept).contains("an unmodified server"));
    let port = broken.local_addr().unwrap().port();
    SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
    drop(broken);
    for _ in 0..2 {
        let again = connect(&own, port, other);
        SockRef::from(&again).set_linger(Some(Duration::ZERO)).unwrap();
        let told = answer(again);
        assert!(!told.contains("an unmodified server"), "the port of a connection from before is a way past: {told}");
    }
}

#[test]
fn no_packet_opens_a_way_past_redirect() {
    past("p", "10.214.41.", &["--capture"]);
}

#[test]
fn no_packet_opens_a_way_past_tproxy() {
    past("q", "10.214.42.", &["--capture=nftables", "--capture-mode", "tproxy"]);
}
