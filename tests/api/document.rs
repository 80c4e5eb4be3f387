//! Everything that the document promises is asked for, well and badly, by schemathesis: no answer is a failure of the
//! server, and none is of a status, a type or a shape that the document does not name.

use std::path::Path;
use std::process::Command;

use crate::control_plane::ControlPlane;

const OBJECTS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, labels: {app: api}}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api}
spec:
  hosts: [api.example.com]
  http: [{route: [{destination: {host: api.example.com, subset: v1}}]}]
";

/// Streams do not end, so they are not asked for; `watch=0` is the list itself.
const SETTINGS: &str = "
[[operations]]
include-path = \"/api/v1/events\"
enabled = false
[[operations]]
include-path = \"/api/v1/tap\"
enabled = false
[[operations]]
include-method = \"GET\"
include-path = \"/api/v1/{kind}\"
parameters = { \"query.watch\" = 0 }
";

#[test]
fn the_api_answers_as_its_document_says() {
    let mesh = ControlPlane::start();
    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], OBJECTS).status, 200);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/test-venv/bin/schemathesis");
    assert!(program.exists(), "run scripts/test-setup first");
    let settings = mesh.data.path().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let mut command = Command::new(program);
    command.current_dir(mesh.data.path()).arg("--config-file").arg(&settings).arg("run");
    command.arg(format!("{}/api/v1/openapi.json", mesh.url)).args(["--url", &mesh.url]);
    command.args(["-H", &format!("Authorization: Bearer {}", mesh.token)]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    command.args(["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "10"]);
    command.args(["--seed", "1", "--no-color", "--request-timeout", "60", "--suppress-health-check", "all"]);
    command.args(["--continue-on-failure", "--warnings", "off", "--generation-database", "none"]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}
