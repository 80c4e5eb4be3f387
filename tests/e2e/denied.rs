//! Whoever is denied is cut off at once: its live connections, those that it begins, and those to it.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mesh::{Mesh, kill, until};

const SOON: Duration = Duration::from_secs(60);
const ID: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
const GET: &[u8] = b"GET /details/0 HTTP/1.1\r\nHost: details:9080\r\n\r\n";
/// The beginning of HTTP/2, with settings that ask for nothing.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection of openssl with a workload's certificate, on which both sides have spoken, and which stays open.
pub struct Held(Child);

impl Held {
    pub fn open(mesh: &Mesh, workload: &str, to: SocketAddr, first: &[u8]) -> Self {
        let file = |name: &str| mesh.path().join("workloads").join(workload).join(name);
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-alpn", "istio", "-connect", &to.to_string()]);
        command.arg("-CAfile").arg(file("root-cert.pem")).arg("-cert").arg(file("cert-chain.pem"));
        command.arg("-cert_chain").arg(file("cert-chain.pem")).arg("-key").arg(file("key.pem"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(first).unwrap();
        let answered = child.stdout.as_mut().unwrap().read(&mut [0; 1024]).unwrap();
        assert!(answered > 0, "{workload} was not answered by {to}");
        Self(child)
    }

    fn is_open(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service of plain TCP that says again what it hears; it ends with the test.
pub struct Echo(Child, pub SocketAddr);

impl Echo {
    pub fn start(mesh: &Mesh) -> Self {
        const PROGRAM: &str = "import socketserver,os\n\
            class H(socketserver.BaseRequestHandler):\n  def handle(self):\n    \
            while d:=self.request.recv(999): self.request.sendall(d)\n\
            socketserver.ThreadingTCPServer.allow_reuse_address=True\n\
            socketserver.ThreadingTCPServer((os.environ['WEFT_ADDRESS'],int(os.environ['PORT'])),H).serve_forever()";
        let arguments =
            ["run", "--service", "echo", "--port", "7000", "--protocol", "tcp", "--", "python3", "-c", PROGRAM];
        let log = std::fs::File::create(mesh.path().join("log/echo.log")).unwrap();
        let command = &mut mesh.command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut at = None;
        until("the echo", SOON, || {
            let log = mesh.log_of("echo");
            let served = log.lines().find_map(|line| line.split_once("is served on ")?.1.split(' ').next());
            at = served.and_then(|at| at.parse().ok());
            at.is_some_and(|at: SocketAddr| std::net::TcpStream::connect(SocketAddr::new(at.ip(), 17_000)).is_ok())
        });
        Self(child, at.unwrap())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        kill(self.0.id());
        let _ = self.0.wait();
    }
}

#[test]
fn whoever_is_denied_is_cut_off_at_once_and_nobody_else() {
    let mesh = Mesh::start(&[]);
    until("all are in step", SOON, || mesh.all_synced());
    let (echo, details) = (Echo::start(&mesh), mesh.address_of("details-v1"));
    let mut cut = [
        Held::open(&mesh, "productpage-v1", details, GET),
        Held::open(&mesh, "productpage-v1", details, HTTP2),
        Held::open(&mesh, "productpage-v1", echo.1, b"hello"),
    ];
    let mut kept = [
        Held::open(&mesh, "reviews-v1", details, GET),
        Held::open(&mesh, "reviews-v1", details, HTTP2),
        Held::open(&mesh, "reviews-v1", echo.1, b"hello"),
    ];
    assert_eq!(mesh.get("/productpage", &[]).status, 200);

    let told = mesh.ok(&["ca", "deny", ID, "--reason", "key leaked"]);
    assert!(told.contains("is denied, until it is allowed again"), "{told}");
    until("its connections are cut", SOON, || cut.iter_mut().all(|held| !held.is_open()));
    // The gateway calls it no more, and nobody takes its calls.
    until("nobody calls it", SOON, || mesh.get("/productpage", &[]).status == 503);
    until("nobody takes its calls", SOON, || {
        mesh.call_from("productpage-v1", "http://details:9080/details/0", &[]).status == 503
    });
    assert_eq!(mesh.call_from("reviews-v1", "http://ratings:9080/ratings/0", &[]).status, 200);
    assert!(kept.iter_mut().all(Held::is_open), "others were cut off too");
    until("it is told why", SOON, || mesh.log_of("productpage-v1").contains("(key leaked)"));
    let audit = std::fs::read_to_string(mesh.path().join("control-plane/audit.jsonl")).unwrap();
    assert!(audit.contains("/ca/denials"), "{audit}");

    // Another control plane process has the same list.
    kill(mesh.control_plane());
    until("the control plane is back", SOON, || mesh.weft(&["ca", "denied"]).status.success());
    let listed = mesh.ok(&["ca", "denied"]);
    assert!(listed.contains(ID) && listed.contains("key leaked"), "{listed}");
    until("all others are back", SOON, || mesh.weft(&["proxy-status"]).status.success());
    assert_eq!(mesh.get("/productpage", &[]).status, 503);

    mesh.ok(&["ca", "allow", ID]);
    until("it is served again", Duration::from_secs(90), || mesh.get("/productpage", &[]).status == 200);
}

#[test]
fn whoever_is_evicted_is_cut_off_as_one_who_is_denied() {
    let mesh = Mesh::start(&[]);
    until("all are in step", SOON, || mesh.all_synced());
    let details = mesh.address_of("details-v1");
    let mut cut = Held::open(&mesh, "productpage-v1", details, GET);
    let mut kept = Held::open(&mesh, "reviews-v1", details, GET);
    let listed: serde_json::Value = serde_json::from_str(&mesh.ok(&["token", "list", "-o", "json"])).unwrap();
    let of_productpage = |token: &&serde_json::Value| token["service_account"] == "bookinfo-productpage";
    let token = listed["items"].as_array().unwrap().iter().find(of_productpage).unwrap()["id"].as_str().unwrap();
    let told = mesh.ok(&["token", "revoke", token, "--evict"]);
    assert!(told.contains("1 workloads evicted; their connections are cut"), "{told}");
    until("its connection is cut", SOON, || !cut.is_open());
    until("nobody takes its calls", SOON, || {
        mesh.call_from("productpage-v1", "http://details:9080/details/0", &[]).status == 503
    });
    assert!(kept.is_open(), "another was cut off too");
    let denied = mesh.ok(&["ca", "denied"]);
    assert!(denied.contains("evicted from the mesh"), "{denied}");
    assert_eq!(mesh.call_from("reviews-v1", "http://ratings:9080/ratings/0", &[]).status, 200);
}
