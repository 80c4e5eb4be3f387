//! Ways to write a path, a host or a header that a policy denies, through the proxy that pilot set up: none gets past.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};

use serde::Deserialize;

use crate::certificates::Certificates;
use crate::proxies::{Program, Proxy, repository};
use crate::table::{Group, HTTP_PORT};
use crate::{compiled, upstream};

/// As `tests/conformance/paths.yaml` has them.
#[derive(Deserialize)]
struct Table {
    paths: Vec<Spelling>,
    hosts: Vec<String>,
}

#[derive(Deserialize)]
struct Spelling {
    path: String,
    is: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Normal,
    Lenient,
    Other,
}

const POLICIES: &str = "
name: what is denied
policies:
- {name: paths, action: DENY, rules: [{to: [{operation: {paths: [/admin, '/admin/*']}}]}]}
- {name: hosts, action: DENY, rules: [{to: [{operation: {hosts: [secret.example]}}]}]}
- {name: roles, action: DENY, rules: [{when: [{key: 'request.headers[x-role]', values: [guest]}]}]}
cases: []
";
/// Ways to write a header that a policy denies.
const ROLES: [&str; 9] = [
    "x-role: guest",
    "x-role:guest",
    "X-Role: guest",
    "x-role: guest ",
    "x-role: guest\t",
    "x-role: \t guest \t ",
    "x-role: staff\r\nx-role: guest",
    "x-role: guest\r\nx-role: staff",
    "x-role: staff\r\nX-ROLE:\tguest ",
];
/// The same for a value in HTTP/2, where nobody takes away what is around it.
const VALUES: [&str; 5] = ["guest", "guest ", "guest\t", " guest", "\tguest \t"];

/// CVE-2019-18802, CVE-2021-31920, CVE-2021-39155, CVE-2021-39156.
#[test]
fn no_spelling_of_a_path_host_or_header_that_a_policy_denies_gets_past() {
    let group: Group = serde_saphyr::from_str(POLICIES).unwrap();
    let table = std::fs::read_to_string(repository("tests/conformance/paths.yaml")).unwrap();
    let table: Table = serde_saphyr::from_str(&table).unwrap();
    let certificates = Certificates::create();
    let folder = tempfile::tempdir().unwrap();
    let address = IpAddr::from([127, 42, (std::process::id() % 250) as u8 + 1, 1]);
    let log = folder.path().join("access.log");
    let mut bootstrap = compiled::Bootstrap::new(Program::Weft, &certificates, upstream::http(), upstream::tcp(), &log);
    bootstrap.add(&group, address);
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap.text()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _proxy = runtime.block_on(Proxy::start(Program::Weft, &file, &[(address, HTTP_PORT).into()]));

    let mut lenient = Vec::new();
    for Spelling { path, is } in &table.paths {
        let status = status(address, path, "h");
        match (is, status == 200) {
            (Kind::Normal, true) => panic!("{path} gets past"),
            (Kind::Other, false) => panic!("{path} is another path, and is answered with {status}"),
            (Kind::Lenient, true) => lenient.push(path),
            _ => assert!(status == 200 || status == 403 || status == 400, "{path}: {status}"),
        }
    }
    assert!(lenient.len() <= 10, "{lenient:?}");
    for host in &table.hosts {
        assert_ne!(status(address, "/", host), 200, "{host} gets past");
    }
    assert_eq!(status(address, "/", "open.example"), 200);
    for role in ROLES {
        assert_eq!(status(address, "/", &format!("h\r\n{role}")), 403, "{role:?}");
    }
    for role in VALUES {
        assert_eq!(runtime.block_on(status_of_http2(address, role)), 403, "{role:?} in HTTP/2");
    }
    for role in ["x-role: guests", "x-role: gu est", "x-role: staff"] {
        assert_eq!(status(address, "/", &format!("h\r\n{role}")), 200, "{role:?}");
    }
    assert_eq!(runtime.block_on(status_of_http2(address, "staff")), 200);
}

/// Of a request with this role.
async fn status_of_http2(address: IpAddr, role: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect((address, HTTP_PORT)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://h/").header("x-role", role).body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    connection.abort();
    answer.status().as_u16()
}

/// Of a request with this host, and headers behind it.
fn status(address: IpAddr, target: &str, host: &str) -> u16 {
    let mut stream = TcpStream::connect((address, HTTP_PORT)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{target}: {answer:?}"))
}
