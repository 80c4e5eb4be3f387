//! Findings across objects.

use super::*;

fn findings(text: &str, hosts: &[&str]) -> Vec<String> {
    let snapshot = Snapshot::parse(text, "a.yaml").unwrap();
    let key = |host: &&str| {
        let namespace = host.strip_suffix(".svc.cluster.local").and_then(|below| below.split('.').next_back());
        ServiceKey::new(Hostname::new(host).unwrap(), namespace.unwrap_or("default"))
    };
    let services = hosts.iter().map(key).collect();
    let scene = Scene { snapshot: &snapshot, services: &services, domain: "cluster.local" };
    analyse(&scene).into_iter().map(|found| format!("{} {}", found.diagnostic.code, found.diagnostic)).collect()
}

fn virtual_service(name: &str, extra: &str, destination: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: \
         [reviews], {extra} http: [{{route: [{{destination: {destination}}}]}}]}}\n"
    )
}

const RULE: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: \
                    reviews, subsets: [{name: v1, labels: {version: v1}}]}\n";

#[test]
fn what_is_declared_nowhere_is_named() {
    let known = ["reviews.default.svc.cluster.local", "*.example.com"];
    let good = virtual_service("a", "", "{host: reviews, subset: v1}");
    assert_eq!(findings(&format!("{good}{RULE}"), &known), [""; 0]);
    assert_eq!(findings(&virtual_service("a", "", "{host: www.example.com}"), &known), [""; 0]);
    assert_eq!(
        findings(
            &format!("{}{RULE}", virtual_service("a", "gateways: [gw, mesh],", "{host: reviews, subset: v9}")),
            &known
        ),
        [
            "IST0101 a.yaml (VirtualService default/a): warning: spec.http[0].route[0].destination: Referenced host+subset in \
             destinationrule not found: \"reviews+v9\"",
            "IST0101 a.yaml (VirtualService default/a): warning: spec.gateways[0]: Referenced gateway not found: \"default/gw\"",
        ]
    );
    assert_eq!(
        findings(&virtual_service("a", "", "{host: nowhere}"), &known),
        [
            "IST0101 a.yaml (VirtualService default/a): warning: spec.http[0].route[0].destination: Referenced host not found: \
          \"nowhere\""
        ]
    );
    assert_eq!(
        findings(RULE, &[]),
        ["IST0101 a.yaml (DestinationRule default/r): warning: spec.host: Referenced host not found: \"reviews\""]
    );
}

#[test]
fn a_provider_of_telemetry_that_the_mesh_does_not_have_is_named() {
    let telemetry = |spec: &str| {
        format!("---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t}}\nspec: {{{spec}}}\n")
    };
    let mesh = "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\n\
                spec: {extensionProviders: [{name: sink, zipkin: {service: z.example.com, port: 9411}}]}\n";
    let own = "tracing: [{providers: [{name: Sink}]}], metrics: [{providers: [{name: prometheus}]}]";
    assert_eq!(findings(&format!("{mesh}{}", telemetry(own)), &[]), [""; 0]);
    let logs = "tracing: [{providers: [{name: weft}]}], accessLogging: [{providers: [{name: envoy}, {name: nolog}]}]";
    let found = findings(&telemetry(logs), &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("spec.accessLogging[0].providers[1].name: Referenced provider not found: \"nolog\""));
}

#[test]
fn the_later_of_two_claims_is_named() {
    let known = ["reviews.default.svc.cluster.local"];
    let two = |extra: &str| {
        format!("{}{}", virtual_service("a", "", "{host: reviews}"), virtual_service("b", extra, "{host: reviews}"))
    };
    let found = findings(&two(""), &known);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("IST0109 a.yaml (VirtualService default/b): warning: spec.hosts: "), "{found:?}");
    assert!(findings(&two("exportTo: [\".\"],"), &known)[0].contains("IST0109"));
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec: {servers: [{port: \
                   {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}\n";
    assert_eq!(findings(&format!("{}{gateway}", two("gateways: [gw],")), &known), [""; 0]);
}

fn of_namespace(namespace: &str, name: &str, host: &str, extra: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\nspec: {{hosts: [\"{host}\"], {extra} http: [{{redirect: {{uri: /}}}}]}}\n"
    )
}

#[test]
fn a_rule_for_another_namespaces_host_is_told_whom_it_is_for() {
    let known = ["reviews.prod.svc.cluster.local", "own.shop.svc.cluster.local"];
    let found = |namespace: &str, host: &str, extra: &str| findings(&of_namespace(namespace, "a", host, extra), &known);
    for host in ["reviews.prod.svc.cluster.local", "reviews.prod", "*.prod.svc.cluster.local", "*.svc.cluster.local"] {
        let [told] = &found("shop", host, "")[..] else { panic!("{host}: {:?}", found("shop", host, "")) };
        assert!(told.starts_with("WFT1109 a.yaml (VirtualService shop/a): warning: spec.hosts[0]: "), "{told}");
        assert!(told.contains("of namespace prod: only callers in namespace shop heed"), "{told}");
    }
    assert_eq!(found("shop", "reviews.prod.svc.cluster.local", "exportTo: [\".\"],"), [""; 0], "it says so itself");
    for (namespace, host) in [("shop", "own"), ("shop", "nobody.example.com"), ("prod", "reviews")] {
        assert_eq!(found(namespace, host, ""), [""; 0], "{namespace} {host}");
    }
    assert_eq!(found("istio-system", "reviews.prod.svc.cluster.local", ""), [""; 0], "the root namespace is for all");
}

#[test]
fn rules_that_no_caller_heeds_both_of_are_no_conflict() {
    let host = "reviews.prod.svc.cluster.local";
    let two = |one: &str, other: &str| {
        let text = [of_namespace(one, "a", host, ""), of_namespace(other, "b", host, "")].concat();
        findings(&text, &[host]).into_iter().filter(|told| told.starts_with("IST0109")).count()
    };
    assert_eq!(two("shop", "bar"), 0, "each is for callers of its own namespace");
    assert_eq!((two("shop", "prod"), two("prod", "istio-system"), two("shop", "shop")), (1, 1, 1));
}
