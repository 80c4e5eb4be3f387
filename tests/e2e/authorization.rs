//! Access policies on a running mesh: who is let in, who is not, and where it is told which rule decided.

use std::time::Duration;

use crate::load::Load;
use crate::mesh::{Mesh, address, get, until};

const PATIENCE: Duration = Duration::from_secs(60);

const READERS: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: ratings}}
  action: DENY
  rules:
  - from: [{source: {notServiceAccounts: [bookinfo-reviews]}}]
    to: [{operation: {paths: [\"/ratings/*\"]}}]
";

/// Marks are written down, and nothing is decided by them.
const WATCHED: &str = r#"
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec:
  extensionProviders:
  - name: marks
    envoyFileAccessLog:
      path: /dev/stdout
      logFormat:
        text: "%REQ(:PATH)% %RESPONSE_CODE% marked=%DYNAMIC_METADATA(envoy.common:access_log_hint)% by=%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%\n"
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: marks}
spec:
  selector: {matchLabels: {app: ratings}}
  accessLogging: [{providers: [{name: marks}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watched}
spec:
  selector: {matchLabels: {app: ratings}}
  action: AUDIT
  rules: [{to: [{operation: {paths: ["/ratings/*"]}}]}]
"#;

#[test]
fn what_an_audit_policy_covers_is_marked_in_the_log_and_not_decided() {
    let mesh = Mesh::start(&[]);
    let status = |path: &str| mesh.call_from("details-v1", &format!("http://ratings:9080{path}"), &[]).status;
    let logged = |line: &str| mesh.log_of("ratings-v1").lines().any(|logged| logged.ends_with(line));
    mesh.apply(WATCHED);
    until("the mark", PATIENCE, || {
        assert_eq!(status("/ratings/0"), 200, "{}", mesh.logs());
        logged("/ratings/0 200 marked=true by=ns[default]-policy[watched]-rule[0]")
    });
    // A connection of before may still lead one to the rules of before.
    until("the other line", PATIENCE, || {
        assert_eq!(status("/health"), 200);
        logged("/health 200 marked=false by=-")
    });
}

#[test]
fn a_policy_lets_one_workload_in_and_refuses_the_others_and_only_the_log_says_why() {
    let mesh = Mesh::start(&[]);
    let ratings = |from: &str| mesh.call_from(from, "http://ratings:9080/ratings/0", &[]);
    assert_eq!((ratings("reviews-v2").status, ratings("details-v1").status), (200, 200));
    mesh.apply(READERS);
    until("the policy at the proxy", PATIENCE, || ratings("details-v1").status == 403);
    let refused = ratings("details-v1");
    assert_eq!((refused.status, refused.body.as_str()), (403, "RBAC: access denied"));
    assert_eq!(ratings("reviews-v2").status, 200);
    assert_eq!(mesh.call_from("details-v1", "http://ratings:9080/health", &[]).status, 200, "{}", mesh.logs());
    let rule = "rbac_access_denied_matched_policy[ns[default]-policy[readers]-rule[0]]";
    until("the rule in the log", PATIENCE, || mesh.log_of("ratings-v1").contains(rule));
    mesh.ok(&["delete", "authorizationpolicy", "readers"]);
    until("the end of the policy", PATIENCE, || ratings("details-v1").status == 200);
}

#[test]
fn what_nobody_can_be_asked_about_is_denied_and_said_to_be() {
    let mesh = Mesh::start(&[]);
    let check = || {
        mesh.ok(&[
            "authz",
            "check",
            "--from",
            "reviews-v2",
            "--to",
            "ratings",
            "--method",
            "GET",
            "--path",
            "/ratings/0",
        ])
    };
    let ratings = || mesh.call_from("reviews-v2", "http://ratings:9080/ratings/0", &[]).status;
    assert_eq!((ratings(), check().starts_with("allowed: ")), (200, true));
    mesh.apply(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: asked}\nspec:\n  \
         selector: {matchLabels: {app: ratings}}\n  action: CUSTOM\n  provider: {name: judge}\n  rules: [{}]\n",
    );
    until("the policy at the proxy", PATIENCE, || ratings() == 403);
    let denied = check();
    let why = "denied: rule 0 of default/asked denies it, as nobody can be asked: no provider \"judge\" is among the \
               extensionProviders of the MeshConfig\n";
    assert!(denied.starts_with(why) && denied.contains("by ns[default]-policy[asked]-rule[0]"), "{denied}");
    // Asked over gRPC at a port that speaks HTTP/1.1, it understands nothing.
    mesh.apply(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\nspec:\n  \
         extensionProviders: [{name: judge, envoyExtAuthzGrpc: {service: details.default.svc.cluster.local, port: 9080}}]\n",
    );
    until("the provider", PATIENCE, || check().starts_with("depends: it depends on what judge says\n"));
    let told = || crate::mesh::text(&mesh.weft(&["check"]));
    until("the finding", PATIENCE, || told().contains("is asked over gRPC at port 9080"));
    assert!(told().contains("WFT1104"), "{}", told());
    assert_eq!(ratings(), 403);
}

#[test]
fn what_a_policy_would_decide_is_told_before_anybody_calls() {
    let mesh = Mesh::start(&[]);
    mesh.apply(READERS);
    let check =
        |from: &str, more: &[&str]| mesh.ok(&[&["authz", "check", "--from", from, "--to", "ratings"], more].concat());
    let mut refused = String::new();
    until("the policy", PATIENCE, || {
        refused = check("details-v1", &["--path", "/ratings/0"]);
        refused.starts_with("denied: rule 0 of default/readers denies it\n")
    });
    assert!(refused.contains("by ns[default]-policy[readers]-rule[0]"), "{refused}");
    assert!(check("default/reviews-v2", &["--path", "/ratings/0"]).starts_with("allowed: "));
    assert!(check("details-v1", &["--path", "//ratings/%30"]).starts_with("denied: "));
    assert!(check("details-v1", &[]).starts_with("depends: it depends on the path\n"));
    assert!(check("plaintext", &["--path", "/ratings/0"]).starts_with("denied: "));
    assert!(check("spiffe://cluster.local/ns/default/sa/bookinfo-reviews", &["--path", "/x"]).starts_with("allowed: "));
    let elsewhere = mesh.ok(&["authz", "check", "--from", "details-v1", "--to", "default/reviews-v1"]);
    assert!(elsewhere.contains("default/readers does not apply: its selector asks for app=ratings"), "{elsewhere}");
    let unknown = mesh.weft(&["authz", "check", "--from", "nobody", "--to", "ratings"]);
    assert!(!unknown.status.success() && crate::mesh::text(&unknown).contains("is no workload"), "{unknown:?}");

    mesh.apply(&READERS.replace("    to: [{operation: {paths: [\"/ratings/*\"]}}]\n", ""));
    // Of any path, it is no longer on that that it depends.
    until("the policy for all paths", PATIENCE, || check("details-v1", &[]).starts_with("denied: "));
    let matrix = mesh.ok(&["authz", "matrix"]);
    let row = |name: &str| {
        let line = matrix.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{matrix}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let column = row("FROM").iter().position(|host| host == "ratings.default:9080").unwrap();
    assert_eq!(row("/sa/bookinfo-reviews")[column], "yes", "{matrix}");
    assert_eq!(row("/sa/bookinfo-details")[column], "no", "{matrix}");
    assert_eq!(row("plaintext")[column], "no", "{matrix}");
}

/// PeerAuthentications for the mesh, a namespace, a workload, and a port of it: namespace, name, and spec with a mode.
const LEVELS: [(&str, &str, &str); 4] = [
    ("istio-system", "default", "{mtls: {mode: MODE}}"),
    ("default", "default", "{mtls: {mode: MODE}}"),
    ("default", "details", "{selector: {matchLabels: {app: details}}, mtls: {mode: MODE}}"),
    ("default", "details", "{selector: {matchLabels: {app: details}}, portLevelMtls: {9080: {mode: MODE}}}"),
];

#[test]
fn changing_the_mode_of_peer_authentication_at_any_level_under_load_loses_no_request() {
    let mesh = Mesh::start(&[]);
    let proxy = address(mesh.workload("productpage-v1")["http_proxy"].as_str().unwrap());
    let plain = || get(mesh.address_of("details-v1"), "details:9080", "/details/0", &[]);
    let load = Load::start_for(proxy, "details:9080", "/details/0", 200);
    for (namespace, name, spec) in LEVELS {
        for (mode, lets_plaintext_in) in
            [("STRICT", false), ("PERMISSIVE", true), ("DISABLE", true), ("PERMISSIVE", true), ("STRICT", false)]
        {
            mesh.apply(&format!(
                "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {}\n",
                spec.replace("MODE", mode)
            ));
            let served = || plain().is_ok_and(|answer| answer.status == 200);
            until(mode, PATIENCE, || served() == lets_plaintext_in && mesh.all_synced());
        }
        mesh.ok(&["delete", "peerauthentication", name, "-n", namespace]);
        until("no policy", PATIENCE, || plain().is_ok_and(|answer| answer.status == 200) && mesh.all_synced());
    }
    let outcome = load.run_until(1000);
    assert_eq!(outcome.failed(), 0, "{outcome:?}\n{}", mesh.logs());
}
