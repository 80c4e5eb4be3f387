//! What a gateway passes on without looking into it.

use pilot::Kind;
use serde_json::Value;

use super::{json, node, read};

const NODE: &str = "{id: 'router~127.0.10.1~gateway.istio-system~istio-system.svc.cluster.local', metadata: {NAMESPACE: \
                    istio-system, LABELS: {app: gateway}, WEFT_BIND: 127.0.10.1}}";

fn services() -> String {
    let ports = "ports: [{name: tls, number: 443, protocol: TLS}, {name: http, number: 80, protocol: HTTP}]";
    let service = |host: &str, more: &str| {
        let (name, namespace) = host.split_once('.').unwrap();
        format!(
            "  - {{host: {name}, namespace: {namespace}, {more}{ports}, endpoints: [{{address: 10.0.0.1, port: 443}}]}}\n"
        )
    };
    let own = service("own.shop", "exportTo: [shop], ");
    format!("kind: Catalog\nspec:\n  services:\n{}{own}", service("open.shop", ""))
}

fn gateway(mode: &str, hosts: &str) -> String {
    format!(
        "kind: Gateway\nmetadata: {{name: edge, namespace: istio-system}}\nspec:\n  selector: {{app: gateway}}\n  \
         servers: [{{port: {{number: 15443, name: tls, protocol: TLS}}, hosts: {hosts}, tls: {{mode: {mode}}}}}]\n"
    )
}

fn routes(sni: &str, host: &str) -> String {
    format!(
        "kind: VirtualService\nmetadata: {{name: '{sni}', namespace: istio-system}}\nspec:\n  hosts: ['{sni}']\n  \
         gateways: [edge]\n  tls: [{{match: [{{port: 15443, sniHosts: ['{sni}']}}], route: [{{destination: {{host: \
         {host}, port: {{number: 443}}}}}}]}}]\n"
    )
}

/// Which names lead to which cluster that there is; no name at all as `*`.
fn passed(documents: &[String]) -> (Vec<(String, String)>, Vec<String>) {
    let inputs = read::inputs(&documents.join("\n---\n"));
    let (compiled, findings) = pilot::compile(&inputs, &node(NODE));
    let clusters: Vec<String> = compiled.of(Kind::Cluster).iter().map(|cluster| cluster.name.to_string()).collect();
    let mut all = Vec::new();
    for listener in compiled.of(Kind::Listener).iter().map(json) {
        assert!(listener.get("default_filter_chain").is_none(), "{listener}");
        for chain in listener["filter_chains"].as_array().unwrap() {
            let names =
                chain["filter_chain_match"]["server_names"].as_array().cloned().unwrap_or_else(|| vec!["*".into()]);
            let to = chain["filters"]
                .as_array()
                .unwrap()
                .iter()
                .find_map(|filter| filter["typed_config"]["cluster"].as_str());
            // Where there is no such cluster, connections are closed.
            let Some(to) = to.filter(|to| clusters.iter().any(|cluster| cluster == to)) else { continue };
            let text = |name: &Value| name.as_str().unwrap().to_owned();
            all.extend(names.iter().map(|name| (text(name), to.to_owned())));
        }
    }
    (all, findings.iter().map(ToString::to_string).collect())
}

/// ISTIO-SECURITY-2021-006: a gateway with AUTO_PASSTHROUGH led to every service of the mesh, by the name that TLS asked
/// for. Here it leads nowhere, and is told of.
#[test]
fn cve_2021_31921_auto_passthrough_leads_nowhere() {
    for hosts in ["['*']", "['*.local']", "[open.shop.svc.cluster.local]"] {
        let rule = routes("open.shop.svc.cluster.local", "open.shop.svc.cluster.local");
        let (led, findings) = passed(&[services(), gateway("AUTO_PASSTHROUGH", hosts), rule]);
        assert_eq!(led, [], "{hosts}");
        assert!(findings.iter().any(|finding| finding.contains("AUTO_PASSTHROUGH is not implemented")), "{findings:?}");
    }
}

/// The same for PASSTHROUGH: what no route names is closed.
#[test]
fn cve_2021_31921_passthrough_leads_where_its_routes_do_and_where_the_gateway_may() {
    let open = || vec![services(), gateway("PASSTHROUGH", "['*']")];
    assert_eq!(passed(&open()).0, [], "without a route");
    let with = |sni: &str, host: &str| passed(&[open(), vec![routes(sni, host)]].concat());
    let (led, _) = with("open.example", "open.shop.svc.cluster.local");
    assert_eq!(led, [("open.example".to_owned(), "outbound|443||open.shop.svc.cluster.local".to_owned())]);
    // Of a service that is not the gateway's to see there is nothing to lead to.
    let (led, findings) = with("own.example", "own.shop.svc.cluster.local");
    assert_eq!(led, []);
    assert!(findings.iter().any(|finding| finding.contains("own.shop.svc.cluster.local")), "{findings:?}");
    // A name that the gateway's server does not have is none of its.
    let elsewhere =
        [services(), gateway("PASSTHROUGH", "[a.example]"), routes("b.example", "open.shop.svc.cluster.local")];
    assert_eq!(passed(&elsewhere).0, []);
}
