//! RequestAuthentications as the filter that verifies tokens (Istio `pilot/pkg/security/authn/policy_applier.go`): a
//! token that is there must be good; whether one must be there is for AuthorizationPolicies to say.

use std::collections::BTreeMap;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::prost_types;
use galley::kinds::{JwtKeys, JwtRule, KeysUri};
use jwt::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use jwt::jwt_requirement::RequiresType;
use jwt::requirement_rule::RequirementType;

use crate::diagnostic::{Code, Findings};
use crate::http_manager::http_filter;
use crate::node::{Node, NodeKind};
use crate::visibility::{View, is_genuine};
use crate::{clusters, names, routes, wire};

mod fetched;

/// Where claims are left for those that decide on access.
pub(super) const METADATA: &str = "envoy.filters.http.jwt_authn";
pub(super) const CLAIMS: &str = "payload";

/// Claims whose text is a list of words (RFC 8693 section 4.2, and its kin).
const WORDS: [&str; 2] = ["scope", "permission"];
/// As Istio, where proxies fetch keys themselves.
const CACHED_SECONDS: i64 = 300;
const TIMEOUT_SECONDS: i64 = 5;

/// The filter, and where it fetches keys from.
pub(super) fn compile(
    view: &View<'_>,
    node: &Node,
    findings: &mut Findings,
) -> (Option<http::HttpFilter>, Vec<cluster::Cluster>) {
    let policies = &view.index.inputs.config.request_authentications;
    let root = &view.index.mesh().root_namespace;
    let policies = super::of_node(policies, root, node, |policy| policy.selector.as_ref());
    let mut rules: Vec<(&JwtRule, String)> = Vec::new();
    for policy in policies {
        let object = format!("RequestAuthentication {}/{}", policy.meta.namespace, policy.meta.name);
        rules.extend(policy.spec.rules.iter().map(|rule| (rule, object.clone())));
    }
    if rules.is_empty() {
        return (None, Vec::new());
    }
    rules.sort_by(|(a, _), (b, _)| a.issuer.cmp(&b.issuer));
    let mut sources = Sources { view, node, findings, clusters: BTreeMap::new() };
    let named = rules.iter().enumerate().map(|(number, (rule, object))| {
        let keys = sources.keys(&rule.keys, rule, object);
        (name(number), provider(rule, keys, node))
    });
    let providers: BTreeMap<_, _> = named.collect();
    let rule = jwt::RequirementRule {
        r#match: Some(routes::everything()),
        requirement_type: Some(RequirementType::Requires(requirement(rules.len()))),
    };
    let filter =
        jwt::JwtAuthentication { providers, rules: vec![rule], bypass_cors_preflight: true, ..Default::default() };
    (Some(http_filter(METADATA, &filter)), sources.clusters.into_values().collect())
}

fn name(number: usize) -> String {
    format!("origins-{number}")
}

fn provider(rule: &JwtRule, keys: JwksSourceSpecifier, node: &Node) -> jwt::JwtProvider {
    let header =
        |of: &galley::kinds::JwtHeader| jwt::JwtHeader { name: of.name.clone(), value_prefix: of.prefix.clone() };
    let claim = |of: &galley::kinds::ClaimHeader| jwt::JwtClaimToHeader {
        header_name: of.header.clone(),
        claim_name: of.claim.clone(),
        ..Default::default()
    };
    let mut words: Vec<String> = WORDS.map(str::to_owned).to_vec();
    words.extend(rule.space_delimited_claims.iter().filter(|name| !WORDS.contains(&name.as_str())).cloned());
    jwt::JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward,
        forward_payload_header: rule.payload_header.clone(),
        from_headers: rule.from_headers.iter().map(header).collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        claim_to_headers: rule.claim_headers.iter().map(claim).collect(),
        payload_in_metadata: CLAIMS.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload { space_delimited_claims: words }),
        // A gateway's routes may look at what claims were made into.
        clear_route_cache: node.kind == NodeKind::Router && !rule.claim_headers.is_empty(),
        // Istio takes tokens that never end; whoever finds one could use it for ever.
        require_expiration: true,
        jwks_source_specifier: Some(keys),
        ..Default::default()
    }
}

/// One good token, or several that are all good, or none at all.
fn requirement(providers: usize) -> jwt::JwtRequirement {
    let of = |requires| jwt::JwtRequirement { requires_type: Some(requires) };
    let any = |requirements| of(RequiresType::RequiresAny(jwt::JwtRequirementOrList { requirements }));
    let missing = || of(RequiresType::AllowMissing(()));
    let one = |number| of(RequiresType::ProviderName(name(number)));
    if providers == 1 {
        return any(vec![one(0), missing()]);
    }
    let each = (0..providers).map(|number| any(vec![one(number), missing()])).collect();
    let all = of(RequiresType::RequiresAll(jwt::JwtRequirementAndList { requirements: each }));
    any((0..providers).map(one).chain([all]).collect())
}

/// Where keys come from.
struct Sources<'a> {
    view: &'a View<'a>,
    node: &'a Node,
    findings: &'a mut Findings,
    clusters: BTreeMap<String, cluster::Cluster>,
}
