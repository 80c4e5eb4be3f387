//! A workload's proxy as pilot sets it up, to be talked around.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::certificates::Certificates;
use crate::proxies::{Program, Proxy};
use crate::table::{Group, HTTP_PORT, PROVIDER, PROVIDER_PORT};
use crate::{compiled, upstream};

/// Denied are /admin, the host secret.example and the role admin; of the rest each path has one way in.
const POLICIES: &str = r#"
name: what is denied
tokens: true
policies:
- {name: paths, action: DENY, rules: [{to: [{operation: {paths: [/admin, "/admin/*"]}}]}]}
- {name: hosts, action: DENY, rules: [{to: [{operation: {hosts: [secret.example]}}]}]}
- {name: roles, action: DENY, rules: [{when: [{key: "request.headers[x-role]", values: [admin]}]}]}
- name: ways
  rules:
  - {to: [{operation: {paths: [/open]}}]}
  - {to: [{operation: {paths: [/web]}}], from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]}
  - {to: [{operation: {paths: [/staff]}}], when: [{key: "request.headers[x-group]", values: [staff]}]}
  - {to: [{operation: {paths: [/token]}}], from: [{source: {requestPrincipals: ["*/alice"]}}]}
  - {to: [{operation: {paths: [/sni]}}], when: [{key: connection.sni, values: [open.example]}]}
  - {to: [{operation: {paths: [/near]}}], from: [{source: {ipBlocks: [127.0.9.0/24]}}]}
  - {to: [{operation: {paths: [/said]}}], from: [{source: {remoteIpBlocks: [127.0.9.0/24]}}]}
cases: []
"#;
/// At a gateway: addresses only.
const GATEWAY: &str = r#"
name: addresses
gateway: true
leads_on: true
policies:
- name: ways
  namespace: istio-system
  rules:
  - {to: [{operation: {paths: [/near]}}], from: [{source: {ipBlocks: [127.0.9.0/24]}}]}
  - {to: [{operation: {paths: [/said]}}], from: [{source: {remoteIpBlocks: [127.0.9.0/24]}}]}
  - {to: [{operation: {paths: [/open]}}]}
cases: []
"#;

pub struct Door {
    address: IpAddr,
    certificates: Certificates,
    _proxy: Proxy,
    _folder: tempfile::TempDir,
}

impl Door {
    /// Each test has another last byte of its address.
    pub fn open(last: u8) -> Self {
        Self::with(last, Vec::new())
    }

    /// With more issuers of tokens, as `jwtRules`.
    pub fn with(last: u8, issuers: Vec<Value>) -> Self {
        let mut group: Group = serde_saphyr::from_str(POLICIES).unwrap();
        group.issuers = issuers;
        Self::of(last, &group, upstream::http())
    }

    /// Before an application of one's own.
    pub fn before(last: u8, application: SocketAddr) -> Self {
        Self::of(last, &serde_saphyr::from_str(POLICIES).unwrap(), application)
    }

    /// Of a gateway before an application.
    pub fn gateway(last: u8, application: SocketAddr) -> Self {
        Self::of(last, &serde_saphyr::from_str(GATEWAY).unwrap(), application)
    }

    fn of(last: u8, group: &Group, application: SocketAddr) -> Self {
        let certificates = Certificates::create();
        let folder = tempfile::tempdir().unwrap();
        let address = IpAddr::from([127, 43, (std::process::id() % 250) as u8 + 1, last]);
        let log = folder.path().join("access.log");
        let mut bootstrap = compiled::Bootstrap::new(Program::Weft, &certificates, application, upstream::tcp(), &log);
        bootstrap.asks(PROVIDER, PROVIDER_PORT, application);
        bootstrap.add(group, address);
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap.text()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let proxy = runtime.block_on(Proxy::start(Program::Weft, &file, &[(address, HTTP_PORT).into()]));
        Self { address, certificates, _proxy: proxy, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((self.address, HTTP_PORT)).unwrap()
    }

    /// The statuses of the answers to what is sent, until the proxy closes.
    pub fn plain(&self, request: &str) -> Vec<u16> {
        statuses(self.connect(), request)
    }

    /// From another address than usual.
    pub fn from(&self, address: Ipv4Addr, request: &str) -> Vec<u16> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
        socket.connect(&SocketAddr::from((self.address, HTTP_PORT)).into()).unwrap();
        statuses(TcpStream::from(socket), request)
    }

    pub fn as_workload(&self, principal: &str, sni: Option<&str>, request: &str) -> Vec<u16> {
        let name = match sni {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::from(self.address),
        };
        let tls = ClientConnection::new(self.certificates.caller(principal), name).unwrap();
        statuses(StreamOwned::new(tls, self.connect()), request)
    }
}

fn statuses(mut stream: impl Read + Write, request: &str) -> Vec<u16> {
    // A refusal may come before all is sent.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let heads = answer.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head.split(' ').next().unwrap().parse().unwrap()).collect()
}

pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: open.example\r\n{lines}connection: close\r\n\r\n")
}
