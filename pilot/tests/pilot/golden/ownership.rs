//! Whose names and addresses are: no object of one namespace takes what callers send to another's service.

use std::collections::BTreeMap;

use api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use api::prost::Message;
use pilot::{Code, Kind, Snapshot};

use super::{json, node, read};

/// A program in `shop`, whose connections are captured.
const NODE: &str = "{id: 'sidecar~10.0.0.9~caller.shop~shop.svc.cluster.local', metadata: {NAMESPACE: shop, \
                    INTERCEPTION_MODE: REDIRECT, HTTP_PROXY_PORT: '15088'}}";

struct Compiled {
    snapshot: Snapshot,
    conflicts: Vec<String>,
}

/// For a caller in a namespace: services as `host: …, ports: …`, and other objects.
fn compiled(namespace: &str, services: &[&str], objects: &[String]) -> Compiled {
    let services: Vec<String> = services.iter().map(|service| format!("  - {{{service}}}\n")).collect();
    let text =
        [&[format!("kind: Catalog\nspec:\n  services:\n{}", services.concat())], objects].concat().join("\n---\n");
    let (snapshot, found) = pilot::compile(&read::inputs(&text), &node(&NODE.replace("shop", namespace)));
    let conflicts = found.into_iter().filter(|found| found.code == Code::Conflict);
    Compiled { snapshot, conflicts: conflicts.map(|found| format!("{}: {}", found.object, found.message)).collect() }
}

impl Compiled {
    fn virtual_hosts(&self, table: &str) -> Vec<VirtualHost> {
        let resource = self.snapshot.of(Kind::Route).iter().find(|resource| *resource.name == *table);
        RouteConfiguration::decode(resource.unwrap().any.value.as_slice()).unwrap().virtual_hosts
    }

    fn tables(&self) -> Vec<String> {
        self.snapshot.of(Kind::Route).iter().map(|resource| resource.name.to_string()).collect()
    }

    /// The virtual host of each domain of a table, which has none twice.
    fn table(&self, name: &str) -> BTreeMap<String, String> {
        let mut domains = BTreeMap::new();
        for host in self.virtual_hosts(name) {
            for domain in host.domains {
                let before = domains.insert(domain.clone(), host.name.clone());
                assert_eq!(before, None, "{domain} is there twice");
            }
        }
        domains
    }

    fn listener(&self, name: &str) -> String {
        let found = self.snapshot.of(Kind::Listener).iter().find(|resource| *resource.name == *name).map(json);
        found.unwrap_or_else(|| panic!("no listener {name}")).to_string()
    }

    fn told(&self, words: &[&str]) {
        let found = self.conflicts.iter().any(|told| words.iter().all(|word| told.contains(word)));
        assert!(found, "nothing tells {words:?}: {:?}", self.conflicts);
    }
}

const HTTP: &str = "ports: [{name: http, number: 9080, protocol: HTTP}]";
const TWO_PORTS: &str =
    "ports: [{name: http, number: 9080, protocol: HTTP}, {name: more, number: 9081, protocol: HTTP}]";
const TCP: &str = "ports: [{name: tcp, number: 5432, protocol: TCP}]";

#[test]
fn the_names_of_a_service_are_not_taken_by_a_host_that_is_spelled_like_one() {
    for ports in [HTTP, TWO_PORTS] {
        let services = [
            format!("host: reviews, namespace: prod, {ports}"),
            format!("host: reviews.prod, namespace: evil, {HTTP}"),
            format!("host: reviews.prod.svc, namespace: evil, {HTTP}"),
        ];
        let made = compiled("shop", &services.each_ref().map(String::as_str), &[]);
        for table in ["http_proxy", "9080"] {
            let domains = made.table(table);
            for name in ["reviews.prod", "reviews.prod:9080", "reviews.prod.svc", "reviews.prod.svc:9080"] {
                let host = &domains[name];
                assert!(host.starts_with("reviews.prod.svc.cluster.local:"), "{table} {name} is {host}'s");
            }
        }
        made.told(&["service evil/reviews.prod:", "reviews.prod go to service prod/reviews.prod.svc.cluster.local"]);
    }
}

#[test]
fn a_service_of_every_host_takes_nothing_and_breaks_no_table() {
    let single = "ports: [{name: http, number: 80, protocol: HTTP}]";
    for ports in [single, HTTP, TWO_PORTS] {
        let services = [format!("host: '*', namespace: evil, {ports}"), format!("host: reviews, {HTTP}")];
        let made = compiled("shop", &services.each_ref().map(String::as_str), &[]);
        for table in made.tables() {
            let domains = made.table(&table);
            let everything: Vec<_> = domains.iter().filter(|(domain, _)| domain.starts_with('*')).collect();
            assert_eq!(everything, [(&"*".to_owned(), &"allow_any".to_owned())], "{table}");
        }
        made.told(&["service evil/*:", "every host"]);
    }
}

#[test]
fn a_rule_for_a_shorter_form_of_a_service_takes_its_name_from_nobody() {
    let plain = "host: plain, namespace: shop, ports: [{name: http, number: 80, protocol: HTTP}]".to_owned();
    let services = [format!("host: reviews, namespace: prod, {TWO_PORTS}"), plain];
    let rule = virtual_service("evil", "reviews.prod", "", "evil.example.com");
    let made = compiled("shop", &services.each_ref().map(String::as_str), &[rule]);
    assert!(made.table("http_proxy")["reviews.prod"].starts_with("reviews.prod.svc.cluster.local:"));
    assert!(!made.table("80").contains_key("reviews.prod"), "callers of shop do not heed it");
}

fn virtual_service(namespace: &str, host: &str, extra: &str, to: &str) -> String {
    let route = format!("route: [{{destination: {{host: {to}, port: {{number: 9080}}}}}}]");
    format!(
        "kind: VirtualService\nmetadata: {{name: rules, namespace: {namespace}}}\nspec:\n  hosts: [\"{host}\"]\n  http: \
         [{{{extra} {route}}}]"
    )
}

/// Whether a rule leads the calls of a namespace to `reviews.prod` to `evil`.
fn is_led_astray(caller: &str, rule: &str) -> bool {
    let services = ["host: reviews, namespace: prod", "host: evil, namespace: evil"];
    let services = services.map(|service| format!("{service}, {HTTP}"));
    let made = compiled(caller, &services.each_ref().map(String::as_str), &[rule.to_owned()]);
    ["http_proxy", "9080"].into_iter().any(|table| {
        let hosts = made.virtual_hosts(table);
        let reviews = hosts.iter().find(|host| host.name == "reviews.prod.svc.cluster.local:9080").unwrap();
        format!("{:?}", reviews.routes).contains("outbound|9080||evil.evil.svc.cluster.local")
    })
}

#[test]
fn a_rule_for_another_namespaces_service_governs_callers_of_its_own_namespace_only() {
    let to = "evil.evil.svc.cluster.local";
    for host in ["reviews.prod.svc.cluster.local", "*.prod.svc.cluster.local", "*.svc.cluster.local"] {
        let of = |namespace: &str| virtual_service(namespace, host, "", to);
        assert!(!is_led_astray("shop", &of("evil")), "{host}: callers of a third namespace");
        assert!(!is_led_astray("prod", &of("evil")), "{host}: callers of the service's namespace");
        assert!(is_led_astray("evil", &of("evil")), "{host}: its own callers");
        assert!(is_led_astray("shop", &of("prod")), "{host}: the service's namespace says it for all");
        assert!(is_led_astray("shop", &of("istio-system")), "{host}: so does the root namespace");
    }
}

#[test]
fn every_host_at_once_is_for_gateways_and_no_match_has_it_in_the_mesh() {
    let rule = |of: &str| {
        virtual_service("shop", "*", of, "evil.evil.svc.cluster.local").replace("  http:", "  gateways: [gw]\n  http:")
    };
    assert!(!is_led_astray("shop", &rule("")));
    let text = format!("apiVersion: networking.istio.io/v1\n{}", rule("match: [{gateways: [mesh]}],"));
    let refused = galley::Snapshot::parse(&text, "rules.yaml").unwrap_err().to_string();
    assert!(refused.contains("not allowed in the mesh"), "{refused}");
}

#[test]
fn a_rule_for_a_host_that_is_nobodys_holds_for_all() {
    let rule = virtual_service("other", "virtual.example.com", "", "reviews.prod.svc.cluster.local");
    let services = [format!("host: reviews, namespace: prod, {HTTP}")];
    let made = compiled("shop", &services.each_ref().map(String::as_str), &[rule]);
    assert_eq!(made.table("80")["virtual.example.com"], "virtual.example.com:80");
}

#[test]
fn a_rule_takes_no_host_that_its_callers_only_do_not_see() {
    let rule = virtual_service("evil", "hidden.prod.svc.cluster.local", "", "evil.evil.svc.cluster.local");
    let services = ["host: hidden, namespace: prod, exportTo: [prod]", "host: evil, namespace: evil"];
    let services = services.map(|service| format!("{service}, {HTTP}"));
    let made = compiled("shop", &services.each_ref().map(String::as_str), &[rule]);
    assert!(!made.table("http_proxy").contains_key("hidden.prod.svc.cluster.local"));
}

#[test]
fn an_address_is_a_platforms_service_before_it_is_anybodys_who_declares_it() {
    // The declared one is the first of the alphabet, the older, and the callers' own.
    for thief in ["shop", "evil"] {
        let services = [
            format!("host: a.example.com, namespace: {thief}, registry: static, addresses: [10.96.0.10/32], {TCP}"),
            format!("host: db, namespace: prod, created: 9, addresses: [10.96.0.10/32], {TCP}"),
        ];
        let made = compiled("shop", &services.each_ref().map(String::as_str), &[]);
        let listener = made.listener("10.96.0.10_5432");
        assert!(listener.contains("outbound|5432||db.prod.svc.cluster.local"), "{listener}");
        assert!(made.table("http_proxy")["10.96.0.10:5432"].starts_with("db.prod.svc.cluster.local:"));
        made.told(&["/a.example.com: port 5432: the address 10.96.0.10 is that of service prod/db.prod"]);
    }
}

#[test]
fn of_declared_addresses_the_callers_own_comes_first_then_the_oldest() {
    let declared = |host: &str, namespace: &str, created: u8| {
        let registry = format!("registry: static, created: {created}");
        format!("host: {host}, namespace: {namespace}, {registry}, addresses: [192.0.2.1/32, 198.51.100.0/24], {TCP}")
    };
    let services =
        [declared("a.example.com", "x", 3), declared("b.example.com", "y", 2), declared("c.example.com", "z", 9)];
    let services = services.each_ref().map(String::as_str);
    for (caller, host) in [("x", "a"), ("shop", "b"), ("z", "c")] {
        let made = compiled(caller, &services, &[]);
        let cluster = format!("outbound|5432||{host}.example.com");
        assert!(made.listener("192.0.2.1_5432").contains(&cluster), "{caller}");
        let networks = made.listener("0.0.0.0_5432");
        assert!(networks.contains(&cluster) && networks.matches("prefix_ranges").count() == 1, "{caller}: {networks}");
    }
}

#[test]
fn neither_an_address_nor_a_network_takes_the_requests_to_an_http_service() {
    for taken in ["10.96.0.10/32", "10.96.0.0/16"] {
        let services = [
            format!("host: reviews, namespace: prod, addresses: [10.96.0.10/32], {HTTP}"),
            format!(
                "host: a.example.com, namespace: evil, registry: static, addresses: [{taken}], ports: [{{name: tcp, \
                 number: 9080, protocol: TCP}}]"
            ),
        ];
        let made = compiled("shop", &services.each_ref().map(String::as_str), &[]);
        let listeners = made.snapshot.of(Kind::Listener);
        let theirs = listeners.iter().filter(|resource| json(resource).to_string().contains("||a.example.com"));
        assert_eq!(theirs.count(), 0, "{taken}");
        made.told(&["service evil/a.example.com: port 9080: the address 10.96.0.10 is that of service prod/reviews"]);
    }
}

#[test]
fn a_host_is_its_own_namespaces_before_it_is_that_of_an_older_object_elsewhere() {
    let services = [
        format!("host: reviews.prod.svc.cluster.local, namespace: evil, registry: static, created: 1, {TWO_PORTS}"),
        format!("host: reviews, namespace: prod, created: 9, {HTTP}"),
    ];
    let services = services.each_ref().map(String::as_str);
    assert!(!compiled("shop", &services, &[]).table("http_proxy").contains_key("reviews.prod.svc.cluster.local:9081"));
    assert!(compiled("evil", &services, &[]).table("http_proxy").contains_key("reviews.prod.svc.cluster.local:9081"));
}
