//! Names of connections, and whose they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use api::TrustDomain;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::settings::{Role, Served, Settings};

fn workload(uid: u32, name: &str, served: &[(&str, u16)]) -> NodeWorkload {
    let services = served.iter().map(|(service, port)| Served {
        service: (*service).to_owned(),
        port: *port,
        protocol: "http".to_owned(),
        target: "127.0.0.1:1".parse().unwrap(),
    });
    NodeWorkload { uid, settings: settings(name, services.collect()), callers: Default::default() }
}

fn settings(workload: &str, services: Vec<Served>) -> Settings {
    let address: IpAddr = [127, 0, 0, 1].into();
    Settings {
        role: Role::Sidecar,
        workload: workload.to_owned(),
        namespace: "default".to_owned(),
        service_account: workload.to_owned(),
        labels: BTreeMap::new(),
        locality: String::new(),
        cluster_id: "weft".to_owned(),
        trust_domain: TrustDomain::new("cluster.local").unwrap(),
        domain: "cluster.local".to_owned(),
        address,
        services,
        registers: true,
        http_proxy_port: 4140,
        http_proxy_address: address,
        users: None,
        way_out: None,
        capture: None,
        node_proxy_port: Some(4141),
        port_map: BTreeMap::new(),
        control_plane: "https://127.0.0.1:1".to_owned(),
        token: None,
        token_file: None,
        state_dir: PathBuf::new(),
        workers: 1,
        admin: SocketAddr::new(address, 0),
        readiness: SocketAddr::new(address, 0),
        metrics: SocketAddr::new(address, 0),
        dns: None,
        workload_api: None,
        drain: std::time::Duration::ZERO,
    }
}

fn named(host: &str, port: Option<u16>) -> Option<Named> {
    Some((host.to_owned(), port))
}

#[test]
fn a_connection_is_the_workloads_whose_service_it_names() {
    let workloads =
        [workload(1, "reviews", &[("reviews", 9080), ("reviews", 9090)]), workload(2, "ratings", &[("ratings", 9080)])];
    let table = Table::of(&workloads).unwrap();
    let whose =
        |host: &str, port| table.find(named(host, port).as_ref()).map(|place| (place.workload, place.listener.port()));
    assert_eq!(whose("reviews.default.svc.cluster.local", Some(9080)), Some((0, 9080)));
    assert_eq!(whose("reviews.default.svc.cluster.local", Some(9090)), Some((0, 9090)));
    for short in ["ratings", "ratings.default", "ratings.default.svc"] {
        assert_eq!(whose(short, None), Some((1, 9080)), "{short}");
    }
    // Which of two ports is not said, and of a service that is not here nothing is guessed.
    assert_eq!(whose("reviews", None), None);
    assert_eq!(whose("details", Some(9080)), None);
    assert_eq!(whose("ratings", Some(80)), None);
    assert_eq!(table.find(None), None);
}

#[test]
fn where_there_is_one_port_everything_is_for_it() {
    let table = Table::of(&[workload(1, "reviews", &[("reviews", 9080)])]).unwrap();
    assert_eq!(table.find(None).map(|place| place.listener.port()), Some(9080));
    assert!(table.find(named("www.example.com", None).as_ref()).is_some());
}

#[test]
fn what_could_not_be_told_apart_is_refused_by_name() {
    let same_user = [workload(7, "reviews", &[]), workload(7, "ratings", &[])];
    let told = Table::of(&same_user).unwrap_err().to_string();
    assert!(told.contains("reviews.default and ratings.default both run as user 7"), "{told}");
    let same_service = [workload(1, "a", &[("shop", 80)]), workload(2, "b", &[("shop.default.svc.cluster.local", 80)])];
    let told = Table::of(&same_service).unwrap_err().to_string();
    assert!(told.contains("a.default and b.default both serve shop.default.svc.cluster.local on port 80"), "{told}");
}

#[test]
fn server_names_and_hosts_are_read() {
    assert_eq!(Some(of_server_name("outbound_.9080_.v1_.reviews.default")), named("reviews.default", Some(9080)));
    assert_eq!(Some(of_server_name("outbound_.x_._.reviews")), named("outbound_.x_._.reviews", None));
    assert_eq!(Some(of_authority("Reviews:9080")), named("reviews", Some(9080)));
    assert_eq!(Some(of_authority("reviews")), named("reviews", None));
}

/// What is read of these bytes, and that they are still there.
async fn read_of(bytes: &[u8]) -> io::Result<Option<Named>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    drop(client);
    let mut read = BytesMut::new();
    let named = super::named(&mut server, &mut read).await?;
    assert_eq!(read, bytes);
    Ok(named)
}

#[tokio::test]
async fn the_first_request_names_a_host_and_nothing_is_taken_away() {
    let host = |request: &'static str| read_of(request.as_bytes());
    assert_eq!(host("GET / HTTP/1.1\r\nHost: ratings:9080\r\n\r\n").await.unwrap(), named("ratings", Some(9080)));
    assert_eq!(host("GET http://ratings/ HTTP/1.1\r\nHost: other\r\n\r\n").await.unwrap(), named("ratings", None));
    assert_eq!(host("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap(), None);
    assert_eq!(host("\u{1}\u{2}\u{3}").await.unwrap(), None);
    assert!(host("GET / HTTP/1.1\r\nHos").await.is_err());
}
