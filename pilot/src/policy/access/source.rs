//! Who asks, as principals: by certificate, by address, by token, by header.

use api::envoy::config::rbac::v3 as rbac;
use api::envoy::r#type::matcher::v3 as matcher;
use galley::kinds::{AccessCondition, AccessSource, AddressAttribute, TextAttribute};
use rbac::Principal;
use rbac::principal::{Authenticated, Identifier};

use super::matching::{self, claim, header, metadata, prefixed, range, text, whole};
use super::rule::Rule;
use super::term::{IntoTerm as _, Term as _, Terms, one_of};
use crate::mesh::MeshConfig;
use crate::policy::tokens::{CLAIMS, METADATA};

const SCHEME: &str = "spiffe://";

pub(super) fn add(source: &AccessSource, rule: &Rule<'_>, terms: &mut Terms<Principal>) {
    terms.add(&source.principals, |value| principal(value, rule.mesh));
    terms.add(&source.namespaces, |value| namespace(value));
    terms.add(&source.service_accounts, |value| service_account(value, rule.namespace));
    terms.add(&source.trust_domains, |value| trust_domain(value));
    terms.add(&source.ip_blocks, |net| Identifier::DirectRemoteIp(range(net)).into_term());
    terms.add(&source.remote_ip_blocks, |net| Identifier::RemoteIp(range(net)).into_term());
    terms.add_http(&source.request_principals, |value| request_principal(value));
}

/// Conditions on what is asked are the permissions' affair.
pub(super) fn add_condition(condition: &AccessCondition, rule: &Rule<'_>, terms: &mut Terms<Principal>) {
    use TextAttribute as Text;
    match condition {
        AccessCondition::Address(AddressAttribute::Source, ranges) => {
            terms.add(ranges, |net| Identifier::DirectRemoteIp(range(net)).into_term());
        }
        AccessCondition::Address(AddressAttribute::Remote, ranges) => {
            terms.add(ranges, |net| Identifier::RemoteIp(range(net)).into_term());
        }
        AccessCondition::Text(attribute, values) => match attribute {
            Text::SourcePrincipal => terms.add(values, |value| principal(value, rule.mesh)),
            Text::SourceNamespace => terms.add(values, |value| namespace(value)),
            Text::SourceServiceAccount => terms.add(values, |value| service_account(value, rule.namespace)),
            Text::SourceTrustDomain => terms.add(values, |value| trust_domain(value)),
            Text::RequestHeader(name) => {
                terms.add_http(values, |value| Identifier::Header(header(name, value)).into_term());
            }
            Text::RequestPrincipal => terms.add_http(values, |value| request_principal(value)),
            Text::RequestAudiences => terms.add_http(values, |value| of_claim(&["aud".to_owned()], value)),
            Text::RequestPresenter => terms.add_http(values, |value| of_claim(&["azp".to_owned()], value)),
            Text::RequestClaim(path) => terms.add_http(values, |value| of_claim(path, value)),
            Text::Sni | Text::FilterMetadata { .. } => {}
        },
        AccessCondition::Address(AddressAttribute::Destination, _) | AccessCondition::Port(_) => {}
    }
}

/// By the name in the peer's certificate, which was verified.
fn authenticated(name: matcher::StringMatcher) -> Principal {
    Identifier::Authenticated(Authenticated { principal_name: Some(name) }).into_term()
}

/// A principal of this mesh's trust domain is meant under each of the domain's names.
fn principal(value: &str, mesh: &MeshConfig) -> Principal {
    one_of(aliases(value, mesh).iter().map(|value| authenticated(prefixed(SCHEME, value))).collect())
}

/// `cluster.local` stands for the mesh's own domain, whatever that is called.
pub(in crate::policy) fn aliases(value: &str, mesh: &MeshConfig) -> Vec<String> {
    let own = || std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases).map(ToString::to_string);
    match value.split_once('/') {
        Some((domain, rest)) if domain == "cluster.local" || own().any(|own| own == domain) => {
            own().map(|own| format!("{own}/{rest}")).collect()
        }
        _ => vec![value.to_owned()],
    }
}

fn namespace(value: &str) -> Principal {
    let name = value.split('*').map(matching::escape).collect::<Vec<_>>().join(".*");
    authenticated(whole(&format!(".*/ns/{name}/.*")))
}

/// `namespace/name`, or a name in the policy's own namespace; of any trust domain that callers may be of.
fn service_account(value: &str, own: &str) -> Principal {
    let (namespace, name) = value.split_once('/').unwrap_or((own, value));
    let (namespace, name) = (matching::escape(namespace), matching::escape(name));
    authenticated(whole(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?")))
}

fn trust_domain(value: &str) -> Principal {
    let name = value.split('*').map(matching::escape).collect::<Vec<_>>().join("[^/]*");
    authenticated(whole(&format!("{SCHEME}{name}/.*")))
}

fn of_claim(path: &[String], value: &str) -> Principal {
    let path: Vec<String> = std::iter::once(CLAIMS.to_owned()).chain(path.iter().cloned()).collect();
    Identifier::SourcedMetadata(metadata(METADATA, &path, claim(text(value)))).into_term()
}

/// `issuer/subject`, parted at the last slash, since issuers are often URLs. A wildcard at the beginning is of the
/// issuer (of the subject, without a slash), one at the end of the subject (of the issuer, without a slash).
fn request_principal(value: &str) -> Principal {
    let anything = || text("*");
    let (issuer, subject) = match value.rsplit_once('/') {
        _ if value == "*" => (anything(), anything()),
        Some((issuer, subject)) if value.starts_with('*') => (text(issuer), matching::exactly(subject)),
        Some((issuer, subject)) if value.ends_with('*') => (matching::exactly(issuer), text(subject)),
        Some((issuer, subject)) => (matching::exactly(issuer), matching::exactly(subject)),
        None if value.starts_with('*') => (anything(), text(value)),
        None if value.ends_with('*') => (text(value), anything()),
        None => (matching::exactly(value), matching::exactly("")),
    };
    let claim = |name: &str, matches| {
        let path = [CLAIMS.to_owned(), name.to_owned()];
        Identifier::SourcedMetadata(metadata(METADATA, &path, matching::string_value(matches))).into_term()
    };
    Principal::and(vec![claim("iss", issuer), claim("sub", subject)])
}
