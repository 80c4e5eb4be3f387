//! What the API tells of a proxy that is really there, and of changes before they are made.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control_plane::{Answer, ControlPlane};
use crate::process::Process;

/// An address of this test's own, on which the ports of an agent are free.
fn own_address() -> String {
    let process = std::process::id();
    format!("127.60.{}.{}", process / 254 % 254, process % 254 + 1)
}

/// A sidecar of a service that nobody asks anything.
fn sidecar(mesh: &ControlPlane) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.arg("--data-dir").arg(mesh.data.path());
    let address = own_address();
    command.args(["agent", "--service", "reviews", "--port", "9080", "--version", "v1", "--address", &address]);
    command.args(["--forward-to", &format!("{address}:19080")]);
    Process(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

fn get(mesh: &ControlPlane, path: &str) -> Answer {
    mesh.send("GET", &format!("/api/v1{path}"), &[], "")
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::yield_now();
    }
}

const FAULT: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: jason
    match: [{headers: {end-user: {exact: jason}}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - name: rest
    route: [{destination: {host: reviews}}]
";

const NOBODY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec:
  action: DENY
  rules: [{to: [{operation: {methods: [GET]}}]}]
";

const GOLD: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gold}
spec:
  action: DENY
  rules: [{when: [{key: 'request.headers[x-tier]', values: [gold]}]}]
";

const SUBSET: &str = "  - name: rest\n    route: [{destination: {host: reviews, subset: v9}}]";

#[test]
fn a_connected_proxy_is_shown_from_the_inside_and_decides_what_it_is_asked() {
    let mesh = ControlPlane::start();
    let _sidecar = sidecar(&mesh);
    let proxy = "/proxies/reviews-v1.default";
    until("the sidecar", || get(&mesh, proxy).body["sync"] == "synced");
    // Its own endpoint comes with it; what it was told of it comes right after.
    until("its endpoint", || {
        let layout = get(&mesh, &format!("{proxy}/_layout")).body;
        layout["outbounds"].as_array().into_iter().flatten().any(|each| each["endpoints"] == 1)
    });

    let layout = get(&mesh, &format!("{proxy}/_layout")).body;
    assert_eq!((&layout["inbounds"][0]["port"], &layout["inbounds"][0]["mtls"]), (&json!(9080), &json!("permissive")));
    let config = get(&mesh, &format!("{proxy}/_config?types=clusters,routes")).body;
    assert_eq!(config["resources"].as_object().unwrap().len(), 2, "{config}");
    let events = get(&mesh, &format!("{proxy}/_events")).body;
    let happened = |what: &str| events["items"].as_array().unwrap().iter().any(|event| event["what"] == what);
    assert!(happened("connected") && happened("sent") && happened("accepted"), "{events}");

    // Told before it is done, and nothing of it is done.
    let dry = mesh.send("POST", "/api/v1/_apply?dryRun=server", &[], FAULT).body;
    assert_eq!((&dry["valid"], &dry["impact"]["proxies"]), (&json!(true), &json!(1)), "{dry}");
    assert_eq!((&dry["impact"]["sample"][0], &dry["impact"]["xds"]["rds"]), (&json!("reviews-v1.default"), &json!(1)));
    assert_eq!(get(&mesh, "/virtualservices").body["total"], 0);

    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], FAULT).status, 200);
    let why = |headers: Value| {
        let question = json!({ "source": "reviews", "destination": "reviews:9080", "path": "/x", "headers": headers });
        mesh.send("POST", "/api/v1/_why", &[], &question.to_string()).body
    };
    until("the rule", || why(json!({}))["route"] == "route \"rest\"");
    let rest = why(json!({}));
    assert_eq!((&rest["decision"], &rest["policy"]["name"]), (&json!("forwarded"), &json!("reviews")), "{rest}");
    let (endpoint, at) = (&rest["targets"][0]["endpoints"][0], format!("{}:9080", own_address()));
    assert_eq!((&endpoint["address"], &endpoint["health"]), (&json!(at), &json!("healthy")), "{rest}");
    let jason = why(json!({ "end-user": "jason" }));
    assert_eq!(jason["route"], "route \"jason\"", "{jason}");
    assert!(jason["warnings"][0].as_str().unwrap().contains("fault"), "{jason}");

    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], NOBODY).status, 200);
    until("the denial", || why(json!({}))["decision"] == "refused");
    let denied = why(json!({}));
    assert_eq!((&denied["status"], &denied["denied_by"]["name"]), (&json!(403), &json!("nobody")), "{denied}");
    assert!(denied["warnings"][0].as_str().unwrap().contains("denied with 403"), "{denied}");
    let step = |step: &Value| step["step"] == "authorization";
    assert!(denied["steps"].as_array().unwrap().iter().any(step), "{denied}");
    let gone = mesh.send("DELETE", "/api/v1/authorizationpolicies/default/nobody?force=true", &[], "");
    assert_eq!(gone.status, 200);
    until("the end of the denial", || why(json!({}))["decision"] == "forwarded");
    // Of its own making: the route sets the header that the policy denies.
    let marked = FAULT.replace("  - name: rest\n", "  - name: rest\n    headers: {request: {set: {x-tier: gold}}}\n");
    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], &marked).status, 200);
    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], GOLD).status, 200);
    until("the denial by the route's header", || why(json!({ "x-tier": "tin" }))["denied_by"]["name"] == "gold");
    let gone = mesh.send("DELETE", "/api/v1/authorizationpolicies/default/gold?force=true", &[], "");
    assert_eq!(gone.status, 200);
    until("the end of that", || why(json!({}))["decision"] == "forwarded");
    let missing = FAULT.replace("  - name: rest\n    route: [{destination: {host: reviews}}]", SUBSET);
    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], &missing).status, 200);
    until("the missing subset", || why(json!({}))["status"] == 503);
    let nowhere = why(json!({}));
    assert_eq!(nowhere["decision"], "refused", "{nowhere}");
    assert!(nowhere["warnings"][0].as_str().unwrap().contains("503"), "{nowhere}");

    let policies = get(&mesh, "/services/default/reviews/_policies").body;
    assert_eq!(policies["items"][0]["link"], "/api/v1/virtualservices/default/reviews", "{policies}");
    let seen = get(&mesh, "/services/default/reviews/_config").body;
    assert_eq!(seen["seen_by"], "reviews-v1.default");
    assert!(!seen["virtual_hosts"].as_array().unwrap().is_empty() && !seen["clusters"].as_array().unwrap().is_empty());
    let identities = get(&mesh, "/identities").body;
    let own = identities["items"].as_array().unwrap().iter().find(|each| each["service_account"] == "reviews").unwrap();
    assert_eq!((&own["proxies"][0], &own["certificate"]["state"]), (&json!("reviews-v1.default"), &json!("valid")));
    let overview = get(&mesh, "/overview").body;
    assert_eq!((&overview["proxies"]["total"], &overview["first_run"]), (&json!(1), &json!(false)), "{overview}");
    assert_eq!(get(&mesh, "/ca").body["roots"][0]["signs"], true);
}

#[test]
fn what_a_control_plane_writes_to_its_log_is_changed_while_it_runs() {
    let mesh = ControlPlane::start();
    let path = "/api/v1/control-plane/_log-level";
    let json = [("content-type", "application/json")];
    let wrong = mesh.send("PUT", path, &json, r#"{"filter": "loud"}"#);
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(wrong.body["detail"].as_str().unwrap().contains("loud"), "{wrong:?}");
    assert!(mesh.send("GET", path, &[], "").body["filter"].as_str().unwrap().starts_with("info"));
    let changed = mesh.send("PUT", path, &json, r#"{"filter": "warn, pilot=debug"}"#);
    assert_eq!((changed.status, &changed.body["filter"]), (200, &"warn,pilot=debug".into()), "{changed:?}");
    assert_eq!(mesh.send("GET", path, &[], "").body["filter"], "warn,pilot=debug");
}
