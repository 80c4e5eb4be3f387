//! The table of names that an agent answers over DNS.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::networking::nds::v1::NameTable;
use api::istio::networking::nds::v1::name_table::NameInfo;
use api::prost::Message;
use pilot::{Compiled, Inputs, Kind};
use registry::{Address, Event, Merger};

use super::{node, read};

const NODE: &str = "{id: 'sidecar~10.0.0.9~caller.shop~shop.svc.cluster.local', metadata: {NAMESPACE: shop}}";

fn table_of(compiled: &Compiled, id: &str) -> BTreeMap<String, NameInfo> {
    let (snapshot, _) = compiled.snapshot(&node(id));
    let resource = snapshot.of(Kind::NameTable).iter().next().map(|resource| resource.any.value.clone());
    NameTable::decode(resource.unwrap().as_slice()).unwrap().table
}

fn table(inputs: &Inputs) -> BTreeMap<String, NameInfo> {
    table_of(&Compiled::new(inputs), NODE)
}

fn ips<'a>(table: &'a BTreeMap<String, NameInfo>, host: &str) -> Vec<&'a str> {
    table.get(host).unwrap_or_else(|| panic!("no {host}")).ips.iter().map(String::as_str).collect()
}

const PORTS: &str = "ports: [{name: http, number: 80, protocol: HTTP}]";

fn inputs(services: &[&str]) -> Inputs {
    let services: Vec<String> = services.iter().map(|service| format!("  - {{{service}, {PORTS}}}\n")).collect();
    read::inputs(&format!("kind: Catalog\nspec:\n  services:\n{}", services.concat()))
}

#[test]
fn a_service_is_at_its_own_address_or_at_one_that_it_was_given() {
    let table = table(&inputs(&[
        "host: own, addresses: [10.1.0.7/32, 'fd00::7/128', 10.2.0.0/16]",
        "host: given",
        "host: api.example.com, location: MESH_EXTERNAL, resolution: DNS",
    ]));
    assert_eq!(ips(&table, "own.default.svc.cluster.local"), ["10.1.0.7", "fd00::7"]);
    for host in ["given.default.svc.cluster.local", "api.example.com"] {
        let [v4, v6] = ips(&table, host)[..] else { panic!("{table:?}") };
        assert!(v4.starts_with("240.240.") && v6.starts_with("2001:2::f0f0:"), "{table:?}");
    }
}

#[test]
fn the_agent_is_told_which_names_have_shorter_forms() {
    let table = table(&inputs(&["host: reviews, aliases: [reviews.service.consul]", "host: api.example.com"]));
    let reviews = &table["reviews.default.svc.cluster.local"];
    assert_eq!((&*reviews.registry, &*reviews.shortname, &*reviews.namespace), ("Kubernetes", "reviews", "default"));
    let alias = &table["reviews.service.consul"];
    assert_eq!((&alias.ips, &*alias.shortname), (&reviews.ips, ""));
    assert_eq!(table["api.example.com"].shortname, "");
}

#[test]
fn an_alias_never_hides_a_service_of_that_name() {
    let services = ["host: a.example.com, aliases: [b.example.com], addresses: [10.0.0.1/32]", "host: b.example.com"];
    assert_ne!(ips(&table(&inputs(&services)), "b.example.com"), ["10.0.0.1"]);
}

const HEADLESS: &str = "host: db, resolution: NONE, endpoints: [{address: 10.0.0.2, port: 80, health: unhealthy}, \
                        {address: 10.0.0.1, port: 80}]";

#[test]
fn a_headless_service_is_where_its_ready_endpoints_are() {
    let table = table(&inputs(&[
        HEADLESS,
        "host: empty, resolution: NONE",
        "host: outside.example.com, location: MESH_EXTERNAL, resolution: NONE",
        "host: '*.wild.example.com', location: MESH_EXTERNAL, resolution: NONE",
    ]));
    assert_eq!(ips(&table, "db.default.svc.cluster.local"), ["10.0.0.1"]);
    assert_eq!(ips(&table, "empty.default.svc.cluster.local"), [""; 0], "it exists, and is nowhere");
    assert_eq!(table.len(), 2, "what is outside is for others to answer: {table:?}");
}

#[test]
fn a_pod_of_a_headless_service_has_a_name_below_it_while_it_is_ready() {
    let endpoints = "[{address: 10.0.0.1, port: 80, hostname: db-0}, {address: 10.0.0.2, port: 80, hostname: db-1, \
                     health: unhealthy}, {address: 10.0.0.3, port: 80}]";
    let table = table(&inputs(&[
        &format!("host: db, resolution: NONE, endpoints: {endpoints}"),
        &format!("host: whole, addresses: [10.1.0.1/32], endpoints: {endpoints}"),
    ]));
    assert_eq!(ips(&table, "db-0.db.default.svc.cluster.local"), ["10.0.0.1"]);
    let name = &table["db-0.db.default.svc.cluster.local"];
    assert_eq!((name.shortname.as_str(), name.namespace.as_str()), ("db-0.db", "default"), "for the shorter forms");
    assert_eq!(table.len(), 3, "nothing of what is not ready, has no name or is not headless: {table:?}");
}

#[test]
fn the_endpoints_of_a_headless_service_are_followed() {
    let given = inputs(&[HEADLESS, "host: other"]);
    let mut merger = Merger::new(["test"]);
    for entry in given.catalog.entries() {
        merger.apply(0, Event::Service((*entry.service).clone()));
        merger.apply(0, Event::Endpoints(entry.service.key.clone(), entry.endpoints.to_vec()));
    }
    let inputs = |merger: &Merger| Inputs { catalog: Arc::new(merger.catalog().clone()), ..given.clone() };
    let compiled = Compiled::new(&inputs(&merger));
    let before = table_of(&compiled, NODE);
    let db = given.catalog.entries().find(|entry| entry.service.host().as_str().starts_with("db.")).unwrap();
    let mut endpoints = db.endpoints.to_vec();
    endpoints[1].address = Address::Ip([10, 0, 0, 3].into());
    merger.apply(0, Event::Endpoints(db.service.key.clone(), endpoints));
    let after = table_of(&compiled.next(&inputs(&merger)), NODE);
    assert_eq!(ips(&before, "db.default.svc.cluster.local"), ["10.0.0.1"]);
    assert_eq!(ips(&after, "db.default.svc.cluster.local"), ["10.0.0.3"]);
    assert_eq!(before["other.default.svc.cluster.local"], after["other.default.svc.cluster.local"]);
}

#[test]
fn names_are_told_to_those_who_may_see_the_service() {
    let compiled = Compiled::new(&inputs(&["host: secret, namespace: shop, exportTo: [shop]"]));
    let elsewhere = NODE.replace("shop", "bar");
    assert!(table_of(&compiled, NODE).contains_key("secret.shop.svc.cluster.local"));
    assert!(table_of(&compiled, &elsewhere).is_empty());
    let gateway = NODE.replace("sidecar~", "router~");
    assert!(compiled.snapshot(&node(&gateway)).0.of(Kind::NameTable).is_empty());
}
