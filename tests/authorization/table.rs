//! The cases, as they stand in `table/`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use galley::kinds::Labels;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Outcome;
use crate::proxies::repository;

/// Where the workload speaks HTTP, and where it does not.
pub const HTTP_PORT: u16 = 8080;
pub const TCP_PORT: u16 = 7000;
/// Who is asked about access.
pub const PROVIDER: &str = "judge.default.svc.cluster.local";
/// Others like it, of which one never answers and one is not there.
pub const SILENT: &str = "silent.default.svc.cluster.local";
pub const NOBODY: &str = "nobody.default.svc.cluster.local";
/// Where they speak HTTP, and where gRPC.
pub const PROVIDER_PORT: u16 = 9000;
pub const GRPC_PORT: u16 = 9001;
pub const DOMAIN: &str = "cluster.local";

/// Policies, and what comes by them. The workload is `app: shop` of the namespace default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    policies: Vec<Policy>,
    /// Whether tokens of the issuer `issuer` are looked at.
    #[serde(default)]
    pub tokens: bool,
    /// Others, as `jwtRules`.
    #[serde(default)]
    pub issuers: Vec<Value>,
    /// Whether there is the provider `judge`.
    #[serde(default)]
    provider: bool,
    /// Others, as `extensionProviders` of the mesh.
    #[serde(default)]
    providers: Vec<Value>,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `pathNormalization` of the mesh.
    paths: Option<String>,
    /// What is called is a gateway of the namespace istio-system.
    #[serde(default)]
    pub gateway: bool,
    /// `gatewayTopology` of the mesh.
    topology: Option<Value>,
    /// It leads to the provider; else it answers itself.
    #[serde(default)]
    leads_on: bool,
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    dry_run: bool,
    action: Option<Value>,
    provider: Option<Value>,
    selector: Option<Value>,
    rules: Option<Value>,
}

/// A request, or a connection to the port that is not of HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// `namespace/account` of the mesh, or a whole principal; without it the caller comes in plaintext.
    r#as: Option<String>,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default = "root")]
    pub path: String,
    #[serde(default = "shop")]
    pub host: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default = "http")]
    pub port: u16,
    /// The caller's address.
    #[serde(default = "loopback")]
    pub from: Ipv4Addr,
    /// `x-forwarded-for`.
    pub forwarded: Option<IpAddr>,
    /// The whole of it, where it tells of more than `forwarded`.
    pub said: Option<String>,
    pub sni: Option<String>,
    /// Claims.
    pub token: Option<Value>,
    /// By which rule: `name[0]`, `namespace/name[0]`, or `none`.
    allow: Option<String>,
    deny: Option<String>,
    /// The evaluator cannot know: it says what the answer turns on.
    #[serde(default)]
    pub open: bool,
    /// The rule only marks the request: it did not decide.
    #[serde(default)]
    pub marked: bool,
    /// The rule's provider cannot be asked, and the rule denies.
    #[serde(default)]
    pub unasked: bool,
    /// The proxy does not look at the token, or does not believe `forwarded`.
    #[serde(default)]
    pub unverified: bool,
}

fn default_namespace() -> String {
    "default".into()
}

fn get() -> String {
    "GET".into()
}

fn root() -> String {
    "/".into()
}

fn shop() -> String {
    "shop.example".into()
}

fn http() -> u16 {
    HTTP_PORT
}

fn loopback() -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

pub fn read() -> Vec<Group> {
    let folder = repository("tests/authorization/table");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| -> Vec<Group> {
        let text = std::fs::read_to_string(file).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().flat_map(read).collect()
}

impl Group {
    /// As an operator applies them.
    pub fn objects(&self) -> String {
        let mut objects: Vec<Value> = self.policies.iter().map(Policy::object).collect();
        if self.tokens {
            let own = json!({"issuer": "issuer", "jwks": crate::client::keys().to_string()});
            let rules: Vec<&Value> = [&own].into_iter().chain(&self.issuers).collect();
            objects.push(json!({
                "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
                "metadata": {"name": "tokens", "namespace": self.namespace()},
                "spec": {"jwtRules": rules}
            }));
        }
        let mut mesh = serde_json::Map::new();
        if let Some(form) = &self.paths {
            mesh.insert("pathNormalization".to_owned(), json!({"normalization": form}));
        }
        if let Some(topology) = &self.topology {
            mesh.insert("defaultConfig".to_owned(), json!({"gatewayTopology": topology}));
        }
        let mut providers = self.providers.clone();
        if self.provider {
            let judge = json!({"name": "judge", "envoyExtAuthzHttp": {
                "service": PROVIDER, "port": PROVIDER_PORT, "timeout": "10s",
                "includeRequestHeadersInCheck": ["x-ask"]}});
            providers.push(judge);
        }
        if !providers.is_empty() {
            mesh.insert("extensionProviders".to_owned(), json!(providers));
        }
        if !mesh.is_empty() {
            objects.push(json!({
                "apiVersion": "mesh.weft.dev/v1alpha1", "kind": "MeshConfig",
                "metadata": {"name": "mesh", "namespace": "istio-system"},
                "spec": mesh
            }));
        }
        let route = match self.leads_on {
            true => json!({"route": [{"destination": {"host": PROVIDER, "port": {"number": PROVIDER_PORT}}}]}),
            false => json!({"directResponse": {"status": 200}}),
        };
        if self.gateway {
            objects.push(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
                "metadata": {"name": "public", "namespace": "istio-system"},
                "spec": {"selector": {"app": "gateway"}, "servers": [
                    {"port": {"number": HTTP_PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}
            }));
            objects.push(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"name": "all", "namespace": "istio-system"},
                "spec": {"hosts": ["*"], "gateways": ["istio-system/public"], "http": [route]}
            }));
        }
        let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
        texts.join("\n---\n")
    }

    pub fn namespace(&self) -> &'static str {
        if self.gateway { "istio-system" } else { "default" }
    }

    pub fn labels(&self) -> Labels {
        let app = if self.gateway { "gateway" } else { "shop" };
        [("app".to_owned(), app.to_owned())].into()
    }
}

impl Policy {
    fn fields(&self) -> [(&'static str, &Option<Value>); 4] {
        [("action", &self.action), ("provider", &self.provider), ("selector", &self.selector), ("rules", &self.rules)]
    }

    fn object(&self) -> Value {
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        if self.dry_run {
            metadata["annotations"] = json!({"istio.io/dry-run": "true"});
        }
        let mut spec = json!({});
        for (name, value) in self.fields() {
            if let Some(value) = value {
                spec[name] = value.clone();
            }
        }
        json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec})
    }
}

impl Case {
    pub fn is_tcp(&self) -> bool {
        self.port == TCP_PORT
    }

    /// `cluster.local/ns/default/sa/web`
    pub fn principal(&self) -> Option<String> {
        let name = self.r#as.as_ref()?;
        match name.split('/').collect::<Vec<_>>()[..] {
            [namespace, account] => Some(format!("{DOMAIN}/ns/{namespace}/sa/{account}")),
            _ => Some(name.clone()),
        }
    }

    pub fn outcome(&self) -> Outcome {
        match (&self.allow, &self.deny) {
            (Some(_), None) => Outcome::Allowed,
            (None, Some(_)) => Outcome::Denied,
            _ => panic!("{self:?}: allow or deny"),
        }
    }

    /// As logs name the rule.
    pub fn by(&self) -> Option<String> {
        let mark = if self.unasked { "istio-ext-authz-" } else { "" };
        self.rule().map(|rule| format!("{mark}{rule}"))
    }

    /// `ns[default]-policy[name]-rule[0]`
    pub fn rule(&self) -> Option<String> {
        let by = self.allow.as_ref().or(self.deny.as_ref()).filter(|by| *by != "none")?;
        let (namespace, rest) = by.split_once('/').unwrap_or(("default", by));
        let (name, rule) = rest.split_once('[').unwrap();
        Some(format!("ns[{namespace}]-policy[{name}]-rule[{rule}"))
    }
}
