//! The examples of the API's document: each is given to a shell as it stands there, and its answer must be one that the
//! document promises, in the shape that it promises.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::mesh::{Mesh, until};
use crate::shape::misfit;

/// What was answered.
struct Answer {
    status: String,
    body: String,
    ended: i32,
}

/// Runs the examples of one mesh; what answers told stands in place of words with a `$`.
struct Shell {
    mesh: Mesh,
    told: BTreeMap<&'static str, String>,
}

impl Shell {
    fn new() -> Self {
        let mesh = Mesh::start(&[]);
        mesh.apply_example("destination-rule-all");
        let api = mesh.up["console"].as_str().unwrap().trim_end_matches('/').to_owned();
        let token = std::fs::read_to_string(mesh.path().join("token")).unwrap().trim().to_owned();
        let told = BTreeMap::from([("API", api), ("TOKEN", token)]);
        Self { mesh, told }
    }

    fn run(&self, line: &str) -> Answer {
        let file = self.mesh.path().join("answer");
        // The function adds where the body goes, and has the status told.
        let script = format!(
            "curl() {{ command curl -sS -c \"$ANSWER.jar\" -o \"$ANSWER\" -w '%{{http_code}}' \"$@\"; }}\n{line}"
        );
        let _ = std::fs::write(&file, "");
        let output =
            Command::new("sh").args(["-u", "-c", &script]).envs(&self.told).env("ANSWER", &file).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let body = std::fs::read_to_string(&file).unwrap_or_default();
        let status = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let body = if body.is_empty() { words } else { body };
        Answer { status, body, ended: output.status.code().unwrap_or(-1) }
    }

    fn get(&self, path: &str) -> Value {
        let line = format!("curl -H \"authorization: Bearer $TOKEN\" \"$API/api/v1{path}\"");
        serde_json::from_str(&self.run(&line).body).unwrap_or_default()
    }

    /// What an example needs to know that only this mesh can tell.
    fn learn(&mut self) {
        until("a trace", Duration::from_secs(60), || {
            self.mesh.get("/productpage", &[("x-request-id", "1"), ("traceparent", TRACED)]);
            self.get("/traces")["items"][0].is_object()
        });
        until("an answer of the proxy that is asked for figures", Duration::from_secs(60), || {
            self.get("/proxies/reviews-v1.default/_log-level")["filter"].is_string()
        });
        let trace = self.get("/traces")["items"][0]["trace_id"].as_str().unwrap().to_owned();
        let member = self.get("/members")["items"][0]["id"].as_str().unwrap_or("none").to_owned();
        let revision = self.get("/history")["items"][0]["revision"].to_string();
        self.told.extend([("TRACE", trace), ("MEMBER", member), ("REVISION", revision)]);
    }

    fn remember(&mut self, method: &str, path: &str, body: &Value) {
        match (method, path) {
            ("post", "/api/v1/{kind}") | ("put" | "patch", "/api/v1/{kind}/{namespace}/{name}") => {
                self.told.insert("REVISION", body["revision"].to_string());
            }
            ("post", "/api/v1/_session") => {
                let jar = std::fs::read_to_string(self.mesh.path().join("answer.jar")).unwrap();
                let cookie = jar.lines().find_map(|line| line.split_once("weft_session\t")).unwrap().1.to_owned();
                self.told.insert("SESSION", cookie);
                self.told.insert("CSRF", body["csrf"].as_str().unwrap().to_owned());
            }
            ("post", "/api/v1/ca/denials") => drop(self.told.insert("DENIAL", body["id"].as_str().unwrap().to_owned())),
            ("post", "/api/v1/tokens") => drop(self.told.insert("JOIN_TOKEN", body["id"].as_str().unwrap().to_owned())),
            ("post", "/api/v1/problems/_mutes") => {
                drop(self.told.insert("MUTE", body["id"].as_str().unwrap().to_owned()))
            }
            ("post", "/api/v1/access/tokens") => {
                self.told.insert("ACCESS_TOKEN", body["id"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }
}

/// A caller that traces is traced (W3C Trace Context).
const TRACED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What makes comes before what reads, and what ends something last of all.
fn order(method: &str, path: &str) -> usize {
    match (method, path) {
        ("get", "/api/v1/history/{revision}" | "/api/v1/history/_diff") | ("post", "/api/v1/_rollback") => 0,
        ("post", _) => 1,
        ("put", _) => 2,
        ("patch", _) => 3,
        ("get", _) => 4,
        _ => 5,
    }
}

#[test]
fn every_example_of_the_api_is_answered_as_the_document_says() {
    let mut shell = Shell::new();
    shell.learn();
    let document = shell.get("/openapi.json");
    let mut operations: Vec<(String, String, Value)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().iter().filter(|(_, operation)| operation["responses"].is_object());
        operations.extend(methods.map(|(method, operation)| (method.clone(), path.clone(), operation.clone())));
    }
    operations.sort_by_key(|(method, path, _)| order(method, path));
    let mut wrong = Vec::new();
    for (method, path, operation) in &operations {
        let Some(line) = operation["x-codeSamples"][0]["source"].as_str() else {
            wrong.push(format!("{method} {path} has no example"));
            continue;
        };
        // A stream must have begun within its moment, which a busy machine may need more of.
        let answer = shell.run(&line.replace("--max-time 3", "--max-time 15"));
        // A stream that was cut after its moment (curl's 28) was answered.
        let is_stream = operation["responses"]["200"]["content"]["text/event-stream"].is_object();
        let promised = &operation["responses"][&answer.status];
        let refused = !answer.status.starts_with(['2', '3']);
        if refused || promised.is_null() || (answer.ended != 0 && !(is_stream && answer.ended == 28)) {
            wrong.push(format!("{line}\n  {} (curl ended with {}): {}", answer.status, answer.ended, answer.body));
            continue;
        }
        let schema = &promised["content"]["application/json"]["schema"];
        if schema.is_object() && !answer.body.is_empty() {
            let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
            wrong.extend(misfit(&document, schema, &body, "").map(|words| format!("{line}\n  {words}")));
            shell.remember(method, path, &body);
        }
    }
    println!("{} examples ran", operations.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
