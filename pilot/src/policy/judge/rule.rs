//! One rule: one of its sources, one of its operations, and every condition.

use std::net::IpAddr;

use galley::kinds::{
    AccessAction, AccessCondition, AccessOperation, AccessRule, AccessSource, AddressAttribute, PathForm,
    TextAttribute, Values,
};
use ipnet::IpNet;

use super::facts::{Call, Known, Request};
use super::holds::{Holds, field};
use super::text;
use crate::mesh::MeshConfig;
use crate::policy::access::aliases;

struct Question<'a> {
    call: &'a Call,
    mesh: &'a MeshConfig,
    /// The policy's.
    namespace: &'a str,
    action: AccessAction,
}

pub(super) fn holds(rule: &AccessRule, namespace: &str, action: AccessAction, mesh: &MeshConfig, call: &Call) -> Holds {
    let question = Question { call, mesh, namespace, action };
    let from = || Holds::any(rule.from.iter().map(|source| question.source(source)));
    let to = || Holds::any(rule.to.iter().map(|operation| question.operation(operation)));
    let mut parts = Vec::new();
    if !rule.from.is_empty() {
        parts.push(from());
    }
    if !rule.to.is_empty() {
        parts.push(to());
    }
    parts.extend(rule.when.iter().map(|condition| question.condition(condition)));
    if question.is_left_out(rule) {
        return Holds::No("it asks for what only HTTP has, and the port speaks none".into());
    }
    Holds::all(parts)
}

impl Question<'_> {
    /// Without HTTP, a rule that allows and asks for something of HTTP allows nothing.
    fn is_left_out(&self, rule: &AccessRule) -> bool {
        let asks = rule.from.iter().any(|source| !source.request_principals.is_empty())
            || rule.to.iter().any(asks_operation)
            || rule.when.iter().any(asks_condition);
        self.call.request.is_none() && self.action == AccessAction::Allow && asks
    }

    /// Without HTTP, what asks for it is left out.
    fn http<V: std::fmt::Display>(
        &self,
        name: &str,
        about: &str,
        values: &Values<V>,
        is: impl Fn(&Request, &V) -> Option<bool>,
    ) -> Holds {
        match &self.call.request {
            None => Holds::Yes,
            Some(request) => field(name, about, values, |value| is(request, value)),
        }
    }

    fn source(&self, source: &AccessSource) -> Holds {
        let principal = |values: &Values, name, is: &dyn Fn(&str, &str) -> bool| self.principal(name, values, is);
        Holds::all([
            principal(&source.principals, "principals", &|value, own| self.is_principal(value, own)),
            principal(&source.namespaces, "namespaces", &text::namespace),
            principal(&source.service_accounts, "serviceAccounts", &|value, own| self.is_account(value, own)),
            principal(&source.trust_domains, "trustDomains", &text::trust_domain),
            address("ipBlocks", "the caller's address", &source.ip_blocks, &self.call.caller.ip),
            address("remoteIpBlocks", "the client's address", &source.remote_ip_blocks, &self.call.caller.remote_ip),
            self.http("requestPrincipals", "the token", &source.request_principals, |_, value| {
                self.call.caller.claims.is(|claims| text::request_principal(value, claims))
            }),
        ])
    }

    fn operation(&self, operation: &AccessOperation) -> Holds {
        let form = self.mesh.paths.unwrap_or(PathForm::Decoded);
        Holds::all([
            self.http("hosts", "the host", &operation.hosts, |request, value| {
                request.host.is(|host| text::host(value, host))
            }),
            self.http("methods", "the method", &operation.methods, |request, value| {
                request.method.is(|method| value == "*" || text::text(value, method))
            }),
            self.http("paths", "the path", &operation.paths, |request, value| {
                request.path.is(|path| text::path(value, &text::spelled(path, form)))
            }),
            field("ports", "the port", &operation.ports, |value| self.call.target.port.is(|port| port == value)),
        ])
    }

    fn condition(&self, condition: &AccessCondition) -> Holds {
        let (caller, target) = (&self.call.caller, &self.call.target);
        match condition {
            AccessCondition::Port(ports) => {
                field("values", "the port", ports, |value| target.port.is(|port| port == value))
            }
            AccessCondition::Address(AddressAttribute::Source, ranges) => {
                address("values", "the caller's address", ranges, &caller.ip)
            }
            AccessCondition::Address(AddressAttribute::Remote, ranges) => {
                address("values", "the client's address", ranges, &caller.remote_ip)
            }
            AccessCondition::Address(AddressAttribute::Destination, ranges) => {
                address("values", "the workload's address", ranges, &target.ip)
            }
            AccessCondition::Text(attribute, values) => self.text(attribute, values),
        }
    }

    fn text(&self, attribute: &TextAttribute, values: &Values) -> Holds {
        use TextAttribute as Text;
        let claims = &self.call.caller.claims;
        let claim = |path: &[String]| {
            let about = format!("the claim {}", path.join("."));
            self.http("values", &about, values, |_, value| claims.is(|claims| text::claim(value, path, claims)))
        };
        match attribute {
            Text::SourcePrincipal => self.principal("values", values, &|value, own| self.is_principal(value, own)),
            Text::SourceNamespace => self.principal("values", values, &text::namespace),
            Text::SourceServiceAccount => self.principal("values", values, &|value, own| self.is_account(value, own)),
            Text::SourceTrustDomain => self.principal("values", values, &text::trust_domain),
            Text::RequestHeader(name) => {
                self.http("values", &format!("the header {name}"), values, |request, value| {
                    request.header(name).is(|header| value == "*" || text::text(value, header))
                })
            }
            Text::RequestPrincipal => self.http("values", "the token", values, |_, value| {
                claims.is(|claims| text::request_principal(value, claims))
            }),
            Text::RequestAudiences => claim(&["aud".to_owned()]),
            Text::RequestPresenter => claim(&["azp".to_owned()]),
            Text::RequestClaim(path) => claim(path),
            Text::Sni => field("values", "the SNI", values, |value| {
                // A connection without one has the empty name.
                match &self.call.caller.sni {
                    Known::Absent => Some(text::text(value, "")),
                    sni => sni.is(|sni| text::text(value, sni)),
                }
            }),
            Text::FilterMetadata { filter, key } => {
                field("values", &format!("what {filter} leaves as {key}"), values, |_| None)
            }
        }
    }

    fn principal(&self, name: &str, values: &Values, is: &dyn Fn(&str, &str) -> bool) -> Holds {
        let about = match &self.call.caller.principal {
            Known::Open => "the caller's identity".to_owned(),
            Known::Absent => "the caller, who shows no certificate,".to_owned(),
            Known::Is(own) => own.clone(),
        };
        field(name, &about, values, |value| self.call.caller.principal.is(|own| is(value, own)))
    }

    fn is_principal(&self, value: &str, own: &str) -> bool {
        aliases(value, self.mesh).iter().any(|value| text::text(value, own))
    }

    fn is_account(&self, value: &str, own: &str) -> bool {
        text::service_account(value, self.namespace, own)
    }
}

fn address(name: &str, about: &str, ranges: &Values<IpNet>, address: &Known<IpAddr>) -> Holds {
    field(name, about, ranges, |range| address.is(|address| range.contains(&address.to_canonical())))
}

fn asks_operation(operation: &AccessOperation) -> bool {
    !(operation.hosts.is_empty() && operation.methods.is_empty() && operation.paths.is_empty())
}

fn asks_condition(condition: &AccessCondition) -> bool {
    use TextAttribute as Text;
    let AccessCondition::Text(attribute, _) = condition else { return false };
    matches!(
        attribute,
        Text::RequestHeader(_)
            | Text::RequestPrincipal
            | Text::RequestAudiences
            | Text::RequestPresenter
            | Text::RequestClaim(_)
    )
}
