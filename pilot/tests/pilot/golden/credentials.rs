//! Certificates that gateways show by `credentialName`: who is told of them, and what happens without them.

use std::sync::Arc;

use api::envoy::extensions::transport_sockets::tls::v3::Secret;
use api::prost::Message as _;
use pilot::{Compiled, Inputs, Kind, Snapshot};
use registry::KeyAccess;
use registry::{Credential, Credentials};

use super::{node, read};

const RULES: &str = "
kind: Gateway
metadata: {name: secure}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: SIMPLE, credentialName: shop}}
  - {port: {number: 443, name: b, protocol: HTTPS}, hosts: [b.example.com], tls: {mode: MUTUAL, credentialName: shop}}
";

fn gateway(namespace: &str, label: &str) -> String {
    format!(
        "{{id: 'router~10.0.0.1~g.{namespace}~{namespace}.svc.cluster.local', metadata: {{NAMESPACE: {namespace}, \
         LABELS: {{istio: {label}}}}}}}"
    )
}

fn inputs(is_pending: bool, ca: Option<&'static [u8]>, is_there: bool) -> Inputs {
    let credential = Credential { chain: "chain".into(), key: "private".into(), ca: ca.map(Into::into) };
    let name = ("istio-system".to_owned(), "shop".to_owned());
    let by_name = is_there.then(|| (name, Arc::new(credential))).into_iter().collect();
    Inputs { credentials: Arc::new(Credentials { is_pending, by_name }), ..read::inputs(RULES) }
}

/// For a proxy that may have keys.
fn compiled(inputs: &Inputs, id: &str) -> (Snapshot, String) {
    compiled_with(inputs, id, KeyAccess::Granted)
}

fn compiled_with(inputs: &Inputs, id: &str, keys: KeyAccess) -> (Snapshot, String) {
    let node = pilot::Node { keys, ..node(id) };
    let (snapshot, findings) = Compiled::new(inputs).snapshot(&node);
    (snapshot, findings.iter().map(ToString::to_string).collect())
}

fn chains(snapshot: &Snapshot) -> usize {
    let of = |any: &[u8]| api::envoy::config::listener::v3::Listener::decode(any).unwrap().filter_chains.len();
    snapshot.of(Kind::Listener).iter().map(|listener| of(&listener.any.value)).sum()
}

/// CVE-2021-34824.
#[test]
fn the_gateway_that_serves_it_is_told_the_certificate_and_nobody_else() {
    let inputs = inputs(false, Some(b"roots"), true);
    let (snapshot, findings) = compiled(&inputs, &gateway("istio-system", "ingressgateway"));
    let names: Vec<&str> = snapshot.secrets.iter().map(|secret| &*secret.name).collect();
    assert_eq!(names, ["kubernetes://shop", "kubernetes://shop-cacert"], "{findings}");
    assert_eq!(chains(&snapshot), 2);
    let secret = snapshot.secrets.get("kubernetes://shop").unwrap();
    assert!(Secret::decode(secret.any.value.as_slice()).unwrap().r#type.is_some());
    assert!(!format!("{snapshot:?} {inputs:?}").contains("private"), "a private key is shown");

    let others = [gateway("istio-system", "egressgateway"), gateway("other", "ingressgateway")];
    let sidecar = "{id: 'sidecar~10.0.0.9~a.istio-system~istio-system.svc.cluster.local'}".to_owned();
    for other in others.iter().chain([&sidecar]) {
        assert!(compiled(&inputs, other).0.secrets.is_empty(), "{other}");
    }
}

#[test]
fn a_server_without_its_secret_is_left_out_and_said() {
    let id = gateway("istio-system", "ingressgateway");
    let (snapshot, findings) = compiled(&inputs(false, None, false), &id);
    assert_eq!(chains(&snapshot), 0);
    assert!(findings.contains("no Secret istio-system/shop of type kubernetes.io/tls"), "{findings}");
    // Without roots for clients, the server that asks none of them is served.
    let (snapshot, findings) = compiled(&inputs(false, None, true), &id);
    assert_eq!(chains(&snapshot), 1);
    assert!(findings.contains("holds no ca.crt"), "{findings}");
}

#[test]
fn a_gateway_goes_on_with_what_it_has_until_secrets_were_read() {
    let (snapshot, findings) = compiled(&inputs(true, None, false), &gateway("istio-system", "ingressgateway"));
    assert_eq!((chains(&snapshot), snapshot.secrets.is_empty()), (2, true));
    assert!(findings.contains("were not read yet"), "{findings}");
}

#[test]
fn whoever_only_says_that_it_is_a_gateway_gets_no_key() {
    let (inputs, id) = (inputs(false, Some(b"roots"), true), gateway("istio-system", "ingressgateway"));
    let (snapshot, findings) = Compiled::new(&inputs).snapshot(&node(&id));
    let findings: String = findings.iter().map(ToString::to_string).collect();
    assert_eq!((chains(&snapshot), snapshot.secrets.is_empty()), (0, true));
    assert!(findings.contains("g.istio-system gets no private key") && findings.contains("withheld-key"), "{findings}");
    let (snapshot, findings) = compiled_with(&inputs, &id, KeyAccess::Denied("ask the operator".into()));
    assert!(snapshot.secrets.is_empty() && findings.contains("ask the operator"), "{findings}");
    // Where it cannot be told now, one that has the key goes on with it.
    let (snapshot, findings) = compiled_with(&inputs, &id, KeyAccess::Unknown("no answer".into()));
    assert_eq!((chains(&snapshot), snapshot.secrets.is_empty()), (2, true));
    assert!(findings.contains("no answer"), "{findings}");
}
