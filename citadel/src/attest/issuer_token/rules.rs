//! Which issuers are known, and which of their tokens are worth which identity: the file of `--jwt-issuers`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::TrustDomain;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Issuers {
    pub issuers: Vec<IssuerConfig>,
}

/// One issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IssuerConfig {
    /// As its tokens have it in `iss`.
    pub issuer: String,
    /// A token is for one of them.
    pub audiences: Vec<String>,
    /// Where its keys are: the URL of a JWKS …
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// … whose certificate comes from an authority in this PEM file [default: one of the system's] …
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// … or a file with the JWKS.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The first that fits decides.
    pub identities: Vec<IdentityRule>,
}

/// What claims a token must have for an identity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IdentityRule {
    pub namespace: String,
    pub service_account: String,
    /// All of them, each with one of the values. `a[b][c]` is a claim within claims; a value with `*` at its beginning or
    /// end fits what ends or begins so, and `*` alone whatever is there.
    pub claims: BTreeMap<String, Values>,
}

/// One value or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

impl IdentityRule {
    /// Whether the claims of a token are worth this identity.
    pub fn fits(&self, claims: &Map<String, Value>) -> bool {
        let has = |(name, wanted): (&String, &Values)| {
            let found = texts(claim(claims, name));
            wanted.all().iter().any(|wanted| found.iter().any(|found| matches(wanted, found)))
        };
        !self.claims.is_empty() && self.claims.iter().all(has)
    }
}

/// The claim of this very name, else the one within others.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.strip_suffix(']')?.split_once('[')?;
    rest.split("][").try_fold(claims.get(first)?, |within, name| within.get(name))
}

/// What a claim says: texts, numbers and truth values, one or a list.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(value @ (Value::Number(_) | Value::Bool(_))) => vec![value.to_string()],
        Some(Value::Array(list)) => {
            list.iter().filter(|one| !one.is_array()).flat_map(|one| texts(Some(one))).collect()
        }
        _ => Vec::new(),
    }
}

fn matches(wanted: &str, found: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        _ if wanted == "*" => !found.is_empty(),
        (Some(end), _) => found.ends_with(end),
        (None, Some(begin)) => found.starts_with(begin),
        (None, None) => found == wanted,
    }
}

pub fn check(file: &Issuers, trust_domain: &TrustDomain) -> Result<(), String> {
    if file.issuers.is_empty() {
        return Err("issuers is empty; name at least one".to_owned());
    }
    for (at, issuer) in file.issuers.iter().enumerate() {
        let told = |rule: String| format!("issuers[{at}].{rule}");
        check_issuer(issuer).map_err(told)?;
        if file.issuers[..at].iter().any(|other| other.issuer == issuer.issuer) {
            return Err(told(format!("issuer: {} stands above already; put all its identities there", issuer.issuer)));
        }
        if issuer.identities.is_empty() {
            return Err(told("identities is empty; say which claims are worth which identity".to_owned()));
        }
        for (number, rule) in issuer.identities.iter().enumerate() {
            check_rule(rule, trust_domain).map_err(|why| told(format!("identities[{number}].{why}")))?;
        }
    }
    Ok(())
}

fn check_issuer(issuer: &IssuerConfig) -> Result<(), String> {
    if issuer.issuer.is_empty() {
        return Err("issuer is empty; it is the `iss` of its tokens".to_owned());
    }
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        return Err("audiences: name what tokens must be for, so that those for others are worth nothing".to_owned());
    }
    match (&issuer.jwks_uri, &issuer.jwks_file) {
        (Some(uri), None) => check_uri(uri),
        (None, Some(_)) if issuer.ca_file.is_some() => Err("caFile is for jwksUri; leave it out".to_owned()),
        (None, Some(_)) => Ok(()),
        _ => Err("jwksUri or jwksFile: give one of them, where the issuer's keys are".to_owned()),
    }
}

/// Whoever answers decides who is who: in clear only on this machine.
fn check_uri(uri: &str) -> Result<(), String> {
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    if uri.starts_with("https://") || local.iter().any(|begin| uri.starts_with(begin)) {
        return Ok(());
    }
    Err(format!("jwksUri: {uri:?} is no https:// URL, and plain http:// is for loopback addresses only"))
}

fn check_rule(rule: &IdentityRule, trust_domain: &TrustDomain) -> Result<(), String> {
    let id = trust_domain.workload(&rule.namespace, &rule.service_account);
    id.map_err(|error| format!("namespace, serviceAccount: {error}"))?;
    if rule.claims.is_empty() {
        return Err("claims is empty, so that every token of the issuer would do; name `sub` at least".to_owned());
    }
    for (name, values) in &rule.claims {
        let wrong = |why: &str| Err(format!("claims[{name}]: {why}"));
        let inner = |value: &String| value.strip_prefix('*').unwrap_or(value).trim_end_matches('*').contains('*');
        match values.all() {
            [] => return wrong("there is no value; give those of which one must be there"),
            all if all.iter().any(String::is_empty) => return wrong("an empty value fits nothing"),
            all if all.iter().any(inner) => return wrong("a `*` is at the beginning or at the end of a value"),
            all if all.iter().any(|value| value.len() > 1 && value.starts_with('*') && value.ends_with('*')) => {
                return wrong("a value has one `*`");
            }
            _ => {}
        }
    }
    if rule.claims.values().all(|values| values.all().iter().any(|value| value == "*")) {
        return Err("claims: `*` fits whatever is there, so that every token would do; give a value".to_owned());
    }
    Ok(())
}
