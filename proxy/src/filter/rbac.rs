//! Who may do what (Envoy, `envoy.filters.http.rbac`): requests that the rules deny are answered with 403; shadow
//! rules only say what they would have done, in metrics and dynamic metadata.

use std::fmt::Write as _;
use std::sync::Arc;

use api::prost_types::{Struct, Value, value::Kind};

use super::{HttpFilter, Settings, Stream};
use crate::forward::Reply;
use crate::rbac::{Action, Decision, Facts, Policy, Rules};
use crate::stats::{Counter, Shard, label};

/// The namespace of its dynamic metadata, whatever the filter is called.
pub const NAMESPACE: &str = "envoy.filters.http.rbac";

/// `envoy.extensions.filters.http.rbac.v3.RBAC`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rbac {
    /// `None`: nothing is enforced.
    pub rules: Option<Rules>,
    pub shadow_rules: Option<Rules>,
    /// Before the names in metrics and metadata.
    pub rules_prefix: String,
    pub shadow_rules_prefix: String,
    /// Whether each rule has counters of its own.
    pub counts_rules: bool,
}

/// What was decided on a request. Written out as metadata only if someone asks for it.
#[derive(Clone, Debug)]
pub struct Noted {
    rbac: Arc<Rbac>,
    enforced: Option<Decision>,
    shadow: Option<Decision>,
}

/// `http.<stat_prefix>.rbac.*`
#[derive(Debug)]
pub struct Stats {
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
    shadow_allowed: Arc<Counter>,
    shadow_denied: Arc<Counter>,
    /// Of each rule, in their order; empty where they are not counted.
    rules: Vec<PerRule>,
    shadow_rules: Vec<PerRule>,
}

/// `http.<stat_prefix>.rbac.policy.<name>.*`
#[derive(Debug)]
struct PerRule {
    allowed: Arc<Counter>,
    denied: Arc<Counter>,
}

pub fn request(own: &Arc<Rbac>, filter: &HttpFilter, place: usize, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    let rbac = match stream.settings(filter) {
        Some(Settings::Rbac(Some(rbac))) => rbac,
        Some(Settings::Rbac(None)) => return Ok(()),
        _ => own,
    };
    let connection = stream.connection;
    let info = &stream.exchange.info;
    let facts = Facts::new(&info.connection, info, Some(stream.head));
    let decide = |rules: &Option<Rules>| rules.as_ref().map(|rules| rules.decide(&facts));
    let (shadow, enforced) = (decide(&rbac.shadow_rules), decide(&rbac.rules));
    if let Some(super::FilterStats::Rbac(stats)) = connection.filter_stats(place) {
        stats.count(shadow, enforced, Arc::ptr_eq(rbac, own));
    }
    if shadow.is_some() || enforced.is_some() {
        stream.info().authorization.push(Noted { rbac: Arc::clone(rbac), enforced, shadow });
    }
    match (&rbac.rules, enforced) {
        (Some(rules), Some(decision)) if !decision.allowed => {
            let mut reply = Reply::new(403, "RBAC: access denied");
            reply.details = rules.denial(decision).into();
            Err(Box::new(reply))
        }
        _ => Ok(()),
    }
}

impl Stats {
    /// `prefix` is the connection manager's.
    pub fn new(rbac: &Rbac, prefix: &str, shard: &Shard) -> Self {
        let counter = |name: &str, own: &str| {
            let mut labels = String::new();
            label(&mut labels, "envoy_http_conn_manager_prefix", prefix);
            if !own.is_empty() {
                label(&mut labels, "envoy_rbac_http_prefix", own);
            }
            shard.counter(&format!("envoy_http_rbac_{name}"), &labels)
        };
        let of_rules = |rules: &Option<Rules>, kind: &str| {
            let policies = rules.iter().filter(|_| rbac.counts_rules).flat_map(|rules| &rules.policies);
            let one = |policy: &Policy, outcome: &str| {
                let mut labels = String::new();
                label(&mut labels, "envoy_http_conn_manager_prefix", prefix);
                label(&mut labels, "envoy_rbac_policy_name", &policy.name);
                shard.counter(&format!("envoy_http_rbac_policy_{kind}{outcome}"), &labels)
            };
            policies.map(|policy| PerRule { allowed: one(policy, "allowed"), denied: one(policy, "denied") }).collect()
        };
        Self {
            rules: of_rules(&rbac.rules, ""),
            shadow_rules: of_rules(&rbac.shadow_rules, "shadow_"),
            allowed: counter("allowed", &rbac.rules_prefix),
            denied: counter("denied", &rbac.rules_prefix),
            shadow_allowed: counter("shadow_allowed", &rbac.shadow_rules_prefix),
            shadow_denied: counter("shadow_denied", &rbac.shadow_rules_prefix),
        }
    }

    /// `own`: by the rules that these counters were made for, not by those of a route.
    fn count(&self, shadow: Option<Decision>, enforced: Option<Decision>, own: bool) {
        for (decision, rules) in [(shadow, &self.shadow_rules), (enforced, &self.rules)] {
            let Some(decision) = decision.filter(|_| own) else { continue };
            if let Some(rule) = decision.policy.and_then(|policy| rules.get(policy)) {
                if decision.allowed { &rule.allowed } else { &rule.denied }.add(1);
            }
        }
        if let Some(shadow) = shadow {
            if shadow.allowed { &self.shadow_allowed } else { &self.shadow_denied }.add(1);
        }
        if let Some(enforced) = enforced {
            if enforced.allowed { &self.allowed } else { &self.denied }.add(1);
        }
    }
}

impl Noted {
    /// What was decided, as dynamic metadata of a namespace; `None` if nothing of it is there.
    pub fn metadata(noted: &[Self], namespace: &str) -> Option<Struct> {
        let mut all = Struct::default();
        match namespace {
            NAMESPACE => noted.iter().for_each(|noted| noted.write(&mut all)),
            // Where rules that only log leave their mark.
            "envoy.common" => {
                let hint = Kind::BoolValue(noted.iter().rev().find_map(Self::log_hint)?);
                all.fields.insert("access_log_hint".to_owned(), Value { kind: Some(hint) });
            }
            _ => {}
        }
        (!all.fields.is_empty()).then_some(all)
    }

    fn write(&self, into: &mut Struct) {
        let rbac = &self.rbac;
        write(into, &rbac.shadow_rules_prefix, "shadow", rbac.shadow_rules.as_ref(), self.shadow);
        write(into, &rbac.rules_prefix, "enforced", rbac.rules.as_ref(), self.enforced);
    }

    /// Whether a rule that only logs covers the request; `None` if there is no such rule.
    fn log_hint(&self) -> Option<bool> {
        self.rbac.rules.as_ref().filter(|rules| rules.action == Action::Log)?;
        Some(self.enforced?.policy.is_some())
    }
}

fn write(into: &mut Struct, prefix: &str, kind: &str, rules: Option<&Rules>, decision: Option<Decision>) {
    let (Some(rules), Some(decision)) = (rules, decision) else { return };
    let mut set = |name: &str, value: &str| {
        let mut key = String::new();
        let _ = write!(key, "{prefix}{kind}_{name}");
        into.fields.insert(key, Value { kind: Some(Kind::StringValue(value.to_owned())) });
    };
    if let Some(policy) = rules.effective(decision) {
        set("effective_policy_id", policy);
    }
    set("engine_result", decision.as_str());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test_kit::{Proxy, filter, one_route};

    const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";

    fn path_rules(action: &str, path: &str) -> serde_json::Value {
        json!({"action": action, "policies": {"p": {
            "permissions": [{"url_path": {"path": {"prefix": path}}}], "principals": [{"any": true}]}}})
    }

    #[tokio::test]
    async fn what_is_denied_never_reaches_the_upstream_in_any_spelling() {
        let rules = json!({"rules": path_rules("DENY", "/admin"), "track_per_rule_stats": true});
        let deny = filter("rbac", "http.rbac.v3.RBAC", rules);
        let route = one_route(json!({"response_headers_to_add": [{"header": {"key": "x-added", "value": "1"}}]}));
        let proxy = Proxy::start(vec![deny], route).await;
        for path in ["/admin", "/x/../admin", "/./admin?q", "/%61dmin"] {
            let answer = proxy.get(path, "").await;
            assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("RBAC: access denied"), "{path}: {answer}");
            // The route's headers are the router's affair, which was not reached.
            assert!(!answer.contains("x-added"), "{answer}");
        }
        assert!(proxy.seen().is_empty());
        assert!(proxy.get("/public", "").await.starts_with("HTTP/1.1 200 "));
        let metrics = proxy.plane.stats.exposition();
        let of_rule =
            "envoy_http_rbac_policy_denied{envoy_http_conn_manager_prefix=\"x\",envoy_rbac_policy_name=\"p\"} 4\n";
        assert!(metrics.contains(of_rule), "{metrics}");
        assert!(metrics.contains("envoy_http_rbac_denied{envoy_http_conn_manager_prefix=\"x\"} 4\n"), "{metrics}");
        assert!(metrics.contains("envoy_http_rbac_allowed{envoy_http_conn_manager_prefix=\"x\"} 1\n"), "{metrics}");
    }

    #[tokio::test]
    async fn a_route_has_rules_of_its_own_or_none() {
        let own = |rbac: serde_json::Value| json!({"typed_per_filter_config": {"rbac": rbac}});
        let deny = || filter("rbac", "http.rbac.v3.RBAC", json!({"rules": path_rules("DENY", "/")}));
        let proxy = Proxy::start(vec![deny()], one_route(own(json!({"@type": PER_ROUTE})))).await;
        assert!(proxy.get("/", "").await.starts_with("HTTP/1.1 200 "));
        let allow_a = json!({"@type": PER_ROUTE, "rbac": {"rules": path_rules("ALLOW", "/a")}});
        let proxy = Proxy::start(vec![deny()], one_route(own(allow_a))).await;
        assert!(proxy.get("/a", "").await.starts_with("HTTP/1.1 200 "));
        assert!(proxy.get("/b", "").await.starts_with("HTTP/1.1 403 "));
    }

    #[tokio::test]
    async fn shadow_rules_tell_the_next_filter_and_the_metrics_and_deny_nothing() {
        let shadow = filter(
            "first",
            "http.rbac.v3.RBAC",
            json!({
            "shadow_rules": path_rules("DENY", "/"), "shadow_rules_stat_prefix": "dry_"}),
        );
        let told = json!({"filter": super::NAMESPACE, "path": [{"key": "dry_shadow_effective_policy_id"}],
            "value": {"string_match": {"exact": "p"}}});
        let second = filter(
            "second",
            "http.rbac.v3.RBAC",
            json!({"rules": {"action": "DENY", "policies": {"told": {
            "permissions": [{"metadata": told}], "principals": [{"header": {"name": "x-ask", "present_match": true}}]}}}}),
        );
        let proxy = Proxy::start(vec![shadow, second], one_route(json!({}))).await;
        assert!(proxy.get("/", "").await.starts_with("HTTP/1.1 200 "));
        assert!(proxy.get("/", "x-ask: 1\r\n").await.starts_with("HTTP/1.1 403 "));
        let metrics = proxy.plane.stats.exposition();
        let series =
            "envoy_http_rbac_shadow_denied{envoy_http_conn_manager_prefix=\"x\",envoy_rbac_http_prefix=\"dry_\"} 2\n";
        assert!(metrics.contains(series), "{metrics}");
    }
}
