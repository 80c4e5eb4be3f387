//! Nothing that must stay secret is in a log, a dump or an answer, in whatever spelling: what is looked for is what this
//! very mesh holds, and what a caller sends through it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::mesh::{Mesh, address, get};

/// In requests.
const PLANTED: [&str; 2] = ["planted-bearer-of-a-caller", "planted-cookie-of-a-caller"];
/// What proxies tell on their administration ports.
const ADMIN: [&str; 14] = [
    "/certs",
    "/clusters",
    "/clusters?format=json",
    "/config_dump",
    "/config_dump?include_eds",
    "/help",
    "/listeners?format=json",
    "/memory",
    "/runtime",
    "/server_info",
    "/stats",
    "/stats?format=json",
    "/stats/prometheus",
    "/ready",
];
/// What the API tells.
const LISTS: [&str; 26] = [
    "_session",
    "access/tokens",
    "audit",
    "authorizationpolicies",
    "ca",
    "ca/bundle",
    "ca/certificates",
    "ca/denials",
    "control-plane",
    "endpoints",
    "graph",
    "history",
    "identities",
    "members",
    "meshconfigs",
    "overview",
    "problems",
    "proxies",
    "registries",
    "services",
    "tokens",
    "traces",
    "version",
    "virtualservices",
    "workloads",
    "no-such-list",
];
/// What the commands of the command line print.
const COMMANDS: [&str; 14] = [
    "access token list",
    "audit -o json",
    "ca status",
    "check",
    "doctor",
    "doctor -o json",
    "endpoints",
    "get virtualservices -o yaml",
    "history",
    "proxy-status -o json",
    "registry status",
    "services -o json",
    "token list",
    "version",
];

/// Something that nobody may be told, and how it may be spelled.
struct Secret {
    what: String,
    spellings: Vec<String>,
}

impl Secret {
    fn text(what: &str, text: &str) -> Self {
        let mut spellings = of_bytes(text.as_bytes());
        spellings.push(text.to_owned());
        Self { what: what.to_owned(), spellings }
    }

    /// The first private key of a PEM file: each line of it, that line once more in base64, and the number itself.
    fn key(file: &Path, text: &str) -> Self {
        let begin = text.find("PRIVATE KEY-----").unwrap();
        let body: Vec<&str> = text[begin..].lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body.concat()).unwrap();
        // Of P-256 (RFC 5915) and of Ed25519 (RFC 8410): an octet string of 32 bytes.
        let at = der.windows(2).position(|head| head == [4, 32]).expect("a key of a curve") + 2;
        let number = &der[at..at + 32];
        let mut spellings = of_bytes(number);
        // Further lines hold the public key, which certificates tell as well.
        let private = |line: &usize| 48 * line < at + 32 && at < 48 * (line + 1);
        for line in (0..body.len()).filter(private) {
            spellings.push(body[line].to_owned());
            spellings.extend(of_bytes(body[line].as_bytes()));
        }
        Self { what: file.display().to_string(), spellings }
    }

    fn is_in(&self, text: &str) -> bool {
        self.spellings.iter().any(|spelling| text.contains(spelling))
    }
}

/// Bytes in hexadecimal digits, in base64 wherever they stand in what is encoded, and as lists of numbers.
fn of_bytes(bytes: &[u8]) -> Vec<String> {
    let digits = |form: fn(&u8) -> String, between: &str| bytes.iter().map(form).collect::<Vec<_>>().join(between);
    let mut all = Vec::new();
    for between in ["", ":", " "] {
        all.push(digits(|byte| format!("{byte:02x}"), between));
        all.push(digits(|byte| format!("{byte:02X}"), between));
    }
    for between in [",", ", "] {
        all.push(digits(|byte| byte.to_string(), between));
    }
    for before in 0..3 {
        let whole = [vec![0; before], bytes.to_vec()].concat();
        // Neither end depends on what is beside it.
        let inner = |text: String| text[if before == 0 { 0 } else { 4 }..text.len() - 4].to_owned();
        all.extend([inner(STANDARD.encode(&whole)), inner(URL_SAFE_NO_PAD.encode(&whole))]);
    }
    all
}

#[test]
fn a_secret_is_known_in_every_spelling() {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key = Secret::key(Path::new("key.pem"), &pem);
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let hex: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
    let others = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for told in
        [pem.clone(), json!({"key": pem}).to_string(), STANDARD.encode(format!("ab{pem}")), hex, format!("{der:?}")]
    {
        assert!(key.is_in(&told), "{told}");
        assert!(!Secret::key(Path::new("other.pem"), &others).is_in(&told));
    }
    let cookie = Secret::text("a cookie", PLANTED[1]);
    for told in
        [PLANTED[1].to_owned(), STANDARD.encode(format!("s={}", PLANTED[1])), URL_SAFE_NO_PAD.encode(PLANTED[1])]
    {
        assert!(cookie.is_in(&told) && !cookie.is_in("planted-cookie"), "{told}");
    }
}

#[test]
fn no_key_and_no_token_is_in_a_log_a_dump_or_an_answer() {
    let mesh = Mesh::start(&[]);
    let mut secrets = keys_of(mesh.path());
    assert!(secrets.len() >= 9, "the authority's and the workloads' keys: {}", secrets.len());
    let mut secret = |what: &str, text: &str| {
        assert!(text.len() > 20, "{what}: {text}");
        secrets.push(Secret::text(what, text));
    };
    let api = Api::of(&mesh);
    secret("the first token", &api.token);
    let joining = mesh.ok(&["token", "create", "--service-account", "reviews"]);
    let joining = joining.split_whitespace().find(|word| word.starts_with("weft_join_")).unwrap();
    secret("a join token", joining);
    let order = json!({"name": "robot", "role": "viewer", "ttl_seconds": 600});
    let made = api.change("POST", "access/tokens", &api.bearer(), &order);
    let robot = word(&made, "weft_pat_");
    secret("an API token", &robot);
    let setup = word(&api.change("POST", "_setup", &api.bearer(), &json!({})), "weft_setup_");
    secret("a setup link", &setup);
    let begun = api.change("POST", "_session", "", &json!({"token": robot}));
    let cookie = begun.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    secret("a session", cookie.split_once('=').unwrap().1);
    for planted in PLANTED {
        secret("what a caller sent", planted);
    }

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
    // Secrets where they do not belong: refused, and not told to the log either.
    for (sent, status) in [
        (format!("authorization: Bearer {robot}x\r\n"), 401),
        (format!("authorization: Bearer {joining}\r\n"), 401),
        (format!("authorization: Basic {}\r\n", STANDARD.encode(format!("admin:{}", api.token))), 401),
        (format!("cookie: {cookie}x\r\n"), 401),
        (format!("cookie: {cookie}\r\n"), 200),
    ] {
        let answer = api.ask("GET", "overview", &sent, "");
        assert_eq!(status_of(&answer), status, "{answer}");
        told.push(("an answer".into(), answer));
    }
    for (path, body) in [
        (format!("overview?access_token={}", api.token), String::new()),
        (format!("tokens/{joining}"), String::new()),
        ("_session".to_owned(), json!({"token": format!("{setup}x")}).to_string()),
        ("_session".to_owned(), json!({"token": joining}).to_string()),
        ("_session".to_owned(), format!("{{\"token\": {robot}}}")),
        ("access/tokens".to_owned(), json!({"name": "x", "role": robot, "ttl_seconds": 1}).to_string()),
    ] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let answer = api.ask(method, &path, "", &body);
        assert!((400..500).contains(&status_of(&answer)), "{path}: {answer}");
        // Who writes one into a path is told of that path.
        if !path.contains(joining) {
            told.push((format!("the refusal of {method} {}", path.split('?').next().unwrap()), answer));
        }
    }

    for list in LISTS {
        told.push((list.to_owned(), api.ask("GET", list, &api.bearer(), "")));
    }
    for command in COMMANDS {
        let output = mesh.weft(&command.split(' ').collect::<Vec<_>>());
        assert_ne!(output.status.code(), Some(2), "{command}: {}", crate::mesh::text(&output));
        told.push((format!("weft {command}"), crate::mesh::text(&output)));
    }
    let proxies: Value = serde_json::from_str(&mesh.ok(&["proxy-status", "-o", "json"])).unwrap();
    for proxy in proxies["items"].as_array().unwrap() {
        let name = proxy["name"].as_str().or_else(|| proxy["id"].as_str()).unwrap();
        for what in ["_config", "_stats", "_policies", "_layout", "_log-level"] {
            told.push((
                format!("{what} of {name}"),
                api.ask("GET", &format!("proxies/{name}/{what}"), &api.bearer(), ""),
            ));
        }
    }
    let workloads = mesh.up["workloads"].as_array().unwrap().iter();
    let mut admins: Vec<SocketAddr> = workloads.map(|one| address(one["admin"].as_str().unwrap())).collect();
    admins.push(SocketAddr::new(mesh.gateway().ip(), 15000));
    for admin in admins {
        for path in ADMIN {
            let answer = get(admin, "admin", path, &[]).unwrap();
            assert_eq!(answer.status, 200, "{admin}{path}: {}", answer.body);
            told.push((format!("{admin}{path}"), answer.body));
        }
    }
    for file in std::fs::read_dir(mesh.path().join("log")).unwrap().flatten() {
        told.push((file.path().display().to_string(), std::fs::read_to_string(file.path()).unwrap_or_default()));
    }

    assert!(told.iter().filter(|(_, text)| text.len() > 100).count() >= 100, "little was told at all");
    for (place, text) in &told {
        for secret in &secrets {
            assert!(!secret.is_in(text), "{place} holds {}", secret.what);
        }
        // A key that signs as well as it verifies is its object's, and nobody else's to tell.
        let may = place.contains("requestauthentications") || !(place.ends_with(".log") || place.starts_with("127."));
        assert!(may || !text.contains(key), "{place} holds the key of a rule");
    }
}

/// The control plane's API, by its first token.
struct Api {
    at: SocketAddr,
    token: String,
}

impl Api {
    fn of(mesh: &Mesh) -> Self {
        let token = std::fs::read_to_string(mesh.path().join("token")).unwrap().trim().to_owned();
        Self { at: address(mesh.up["api"].as_str().unwrap()), token }
    }

    fn bearer(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.token)
    }

    /// The whole answer.
    fn ask(&self, method: &str, path: &str, lines: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.at).unwrap();
        let size = body.len();
        let head = format!("host: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{lines}");
        write!(stream, "{method} /api/v1/{path} HTTP/1.1\r\n{head}content-length: {size}\r\n\r\n{body}").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn change(&self, method: &str, path: &str, lines: &str, body: &Value) -> String {
        let answer = self.ask(method, path, lines, &body.to_string());
        assert_eq!(status_of(&answer), 201, "{answer}");
        answer
    }
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The first secret of a kind in an answer.
fn word(answer: &str, prefix: &str) -> String {
    let at = answer.find(prefix).unwrap_or_else(|| panic!("no {prefix} in {answer}"));
    answer[at..].chars().take_while(|char| char.is_ascii_alphanumeric() || "_-".contains(*char)).collect()
}

/// Of each file below a directory that holds one.
fn keys_of(directory: &Path) -> Vec<Secret> {
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
                found.push(Secret::key(&path, &text));
            }
        }
    }
    found
}
