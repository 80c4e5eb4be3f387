//! Hosts outside the mesh, called through a workload's way out.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mesh::{Mesh, address, get, until};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The address of this machine by which others reach it; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.254:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// A server that the mesh knows nothing of; every request gets a page.
fn outside(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                match stream.read(&mut byte) {
                    Ok(1) => head.push(byte[0]),
                    _ => break,
                }
            }
            let page = "a page from elsewhere";
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}", page.len());
        }
    });
    at
}

const POLICY: &str = "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\n\
                      spec: {outboundTrafficPolicy: {mode: MODE}}\n";

#[test]
fn programs_are_let_out_by_name_and_by_connect_unless_the_mesh_lets_nobody_out() {
    let Some(ip) = own_address() else {
        eprintln!("skipped: every address of this machine is one that no workload is led to");
        return;
    };
    let at = outside(ip);
    let mesh = Mesh::start(&[]);
    let way_out = mesh.workload("productpage-v1")["http_proxy"].as_str().unwrap().to_owned();
    let call = |host: &str| get(address(&way_out), host, &format!("http://{host}/"), &[]).unwrap();

    // An ordinary program behind `weft run`, which finds its way out in its environment: plainly, and by CONNECT.
    let (plain, tunnel) = (mesh.path().join("plain"), mesh.path().join("tunnel"));
    let script = format!(
        "while ! curl -sf http://{at}/ -o {0}; do sleep 0.2; done; curl -sf -p http://{at}/ -o {1}; exec sleep 600",
        plain.display(),
        tunnel.display()
    );
    let command = ["run", "--name", "caller", "--", "sh", "-c", &script];
    let log = std::fs::File::create(mesh.path().join("log").join("test-caller.log")).unwrap();
    let program = mesh.command(&command).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let _program = Running(program.unwrap());
    for page in [&plain, &tunnel] {
        let read = || std::fs::read_to_string(page).is_ok_and(|page| page == "a page from elsewhere");
        until("the page", Duration::from_secs(60), read);
    }

    // Neither the machine itself, nor a name that there is not, nor a name of the mesh that nobody has.
    for near in ["127.0.0.1:1", "localhost:1", "169.254.169.254"] {
        let told = call(near);
        assert_eq!((told.status, told.body.contains("no_proxy")), (403, true), "{near}: {told:?}");
    }
    let told = call("no-such-host.invalid");
    assert_eq!(
        (told.status, told.body.contains("DNS resolution failure; see `weft services`")),
        (503, true),
        "{told:?}"
    );
    for own in ["typo.default.svc.cluster.local", "typo.default.svc:9080", "ratings.default.svc.cluster.local.:9080"] {
        let told = call(own);
        assert_eq!((told.status, told.body.contains("no service of this name is in the mesh")), (502, true), "{own}");
    }
    assert!(call("ratings:1").body.contains("is not served on the port"));

    // What is outside has one name in metrics, whoever was asked for, and says no more of the way there than is known.
    let metrics = mesh.workload("productpage-v1")["metrics"].as_str().unwrap();
    assert_eq!(call(&at.to_string()).body, "a page from elsewhere");
    let path = format!("/{}", metrics.splitn(4, '/').nth(3).unwrap());
    let read = || get(address(metrics), "metrics", &path, &[]).unwrap().body;
    // A request is counted once its answer is gone.
    until("the series of the call", Duration::from_secs(60), || {
        read().lines().any(|line| {
            let outside = line.contains("destination_service_name=\"PassthroughCluster\"");
            line.starts_with("istio_requests_total{") && outside && line.contains("response_code=\"200\"")
        })
    });
    let metrics = read();
    assert!(!metrics.contains("no-such-host"), "{metrics}");
    let why = mesh.ok(&["why", "--from", "productpage-v1", "http://example.com/"]);
    assert!(why.contains("outside the mesh, resolved by name"), "{why}");

    mesh.apply(&POLICY.replace("MODE", "REGISTRY_ONLY"));
    let refused = || Some(call(&at.to_string())).filter(|told| told.status == 502);
    until("the end of the way out", Duration::from_secs(60), || refused().is_some());
    let told = refused().unwrap();
    assert!(told.body.contains("REGISTRY_ONLY"), "{told:?}");
    let connect = format!("CONNECT {at} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address(&way_out)).unwrap();
    stream.write_all(connect.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 502");
    mesh.apply(&POLICY.replace("MODE", "ALLOW_ANY"));
    until("the way out", Duration::from_secs(60), || call(&at.to_string()).status == 200);
}
