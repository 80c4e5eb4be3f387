//! Nothing that must stay secret is in a log, a dump or an answer of the API: what is looked for is what this very mesh
//! holds, and what a caller sends through it.

use std::path::{Path, PathBuf};

use crate::mesh::Mesh;

/// In requests.
const PLANTED: [&str; 2] = ["planted-bearer-of-a-caller", "planted-cookie-of-a-caller"];

#[test]
fn no_key_and_no_token_is_in_a_log_a_dump_or_an_answer() {
    let mesh = Mesh::start(&[]);
    let mut secrets = keys_of(mesh.path());
    assert!(secrets.len() >= 9, "the authority's and the workloads' keys: {}", secrets.len());
    secrets.push(std::fs::read_to_string(mesh.path().join("token")).unwrap().trim().to_owned());
    let joining = mesh.ok(&["token", "create", "--service-account", "reviews"]);
    let joining = joining.split_whitespace().find(|word| word.starts_with("weft_join_")).unwrap();
    secrets.push(joining.to_owned());
    secrets.extend(PLANTED.map(str::to_owned));

    let key = "cGxhbnRlZC1rZXktb2YtYS10b2tlbi1ydWxl";
    mesh.apply(&format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec:\n  \
         jwtRules: [{{issuer: a, jwks: '{{\"keys\": [{{\"kty\": \"oct\", \"k\": \"{key}\"}}]}}'}}]\n"
    ));
    let headers = [("authorization", "Bearer planted-bearer-of-a-caller"), ("cookie", "s=planted-cookie-of-a-caller")];
    for _ in 0..3 {
        mesh.get("/productpage", &headers);
        mesh.call_from("productpage-v1", "http://reviews:9080/reviews/0", &headers);
    }

    let mut told: Vec<(String, String)> = Vec::new();
    for file in std::fs::read_dir(mesh.path().join("log")).unwrap().flatten() {
        told.push((file.path().display().to_string(), std::fs::read_to_string(file.path()).unwrap_or_default()));
    }
    told.push(("audit log".into(), mesh.ok(&["audit", "-o", "json"])));
    for path in
        ["overview", "proxies", "identities", "ca", "tokens", "members", "workloads", "services", "problems", "traces"]
    {
        told.push((path.to_owned(), api(&mesh, path)));
    }
    let proxies: serde_json::Value = serde_json::from_str(&mesh.ok(&["proxy-status", "-o", "json"])).unwrap();
    for proxy in proxies["items"].as_array().unwrap() {
        let name = proxy["name"].as_str().or_else(|| proxy["id"].as_str()).unwrap();
        told.push((format!("dump of {name}"), api(&mesh, &format!("proxies/{name}/_config"))));
    }
    assert!(told.iter().filter(|(_, text)| text.len() > 100).count() >= 10, "little was told at all");
    for (place, text) in &told {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} holds a secret: {}…", &secret[..8]);
        }
        // A key that only verifies is configuration; one that signs as well is not the log's to tell.
        assert!(!place.ends_with(".log") || !text.contains(key), "{place} holds the key of a rule");
    }
}

fn api(mesh: &Mesh, path: &str) -> String {
    let at = crate::mesh::address(mesh.up["api"].as_str().unwrap());
    let token = std::fs::read_to_string(mesh.path().join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    crate::mesh::get(at, "localhost", &format!("/api/v1/{path}"), &[("authorization", &bearer)]).unwrap().body
}

/// A line out of the middle of each private key below a directory.
fn keys_of(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path)
                && text.contains("PRIVATE KEY-----")
            {
                found.push(text.lines().nth(2).unwrap_or_default().to_owned());
            }
        }
    }
    found
}
