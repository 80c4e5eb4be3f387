//! Findings across objects.

use super::*;

fn findings(text: &str, hosts: &[&str]) -> Vec<String> {
    let snapshot = Snapshot::parse(text, "a.yaml").unwrap();
    let hosts = hosts.iter().map(|host| Hostname::new(host).unwrap()).collect();
    let scene = Scene { snapshot: &snapshot, hosts: &hosts, domain: "cluster.local" };
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
