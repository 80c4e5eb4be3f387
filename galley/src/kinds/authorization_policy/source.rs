//! Who asks (Istio `Source`).

use ipnet::IpNet;

use super::{Values, pattern, service_account};
use crate::kinds::check;
use crate::reader::{Object, Place};

/// What it names holds all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSource {
    /// `<trust domain>/ns/<namespace>/sa/<account>`, with `*` at one end.
    pub principals: Values,
    /// `<issuer>/<subject>` of a verified token, with `*` at one end.
    pub request_principals: Values,
    /// `*` stands for any text, anywhere.
    pub namespaces: Values,
    /// `namespace/name`, or a name in the policy's namespace.
    pub service_accounts: Values,
    /// The peer of the connection.
    pub ip_blocks: Values<IpNet>,
    /// The client as believed, after `x-forwarded-for` or a PROXY protocol header.
    pub remote_ip_blocks: Values<IpNet>,
    pub trust_domains: Values,
}

/// What the certificate or a token says; a provider is asked before a token is looked at.
const IDENTITIES: [&str; 10] = [
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

pub(super) fn read(o: &Object<'_>, custom: bool) -> Option<AccessSource> {
    const MOST_ACCOUNTS: usize = 16;
    let source = AccessSource {
        principals: Values::read(o, "principals", "notPrincipals", principal),
        request_principals: Values::read(o, "requestPrincipals", "notRequestPrincipals", pattern),
        namespaces: Values::read(o, "namespaces", "notNamespaces", super::text),
        service_accounts: Values::read(o, "serviceAccounts", "notServiceAccounts", service_account),
        ip_blocks: Values::read(o, "ipBlocks", "notIpBlocks", check::subnet),
        remote_ip_blocks: Values::read(o, "remoteIpBlocks", "notRemoteIpBlocks", check::subnet),
        trust_domains: Values::read(o, "trustDomains", "notTrustDomains", pattern),
    };
    for (name, accounts) in
        [("serviceAccounts", &source.service_accounts.any), ("notServiceAccounts", &source.service_accounts.none)]
    {
        if accounts.len() > MOST_ACCOUNTS {
            o.error_at(name, format!("at most {MOST_ACCOUNTS} accounts, not {}", accounts.len()));
        }
        if !accounts.is_empty() && (!source.principals.is_empty() || !source.namespaces.is_empty()) {
            o.error_at(name, "cannot be combined with principals or namespaces");
        }
    }
    if custom {
        for name in IDENTITIES.into_iter().filter(|name| o.has(name)) {
            o.error_at(name, "cannot be used with action CUSTOM");
        }
    }
    if source == AccessSource::default() {
        o.place().error("must name something; leave from out to cover everyone");
    }
    Some(source)
}

fn principal(place: &Place<'_>) -> Option<String> {
    let text = pattern(place)?;
    if text.starts_with("spiffe://") {
        place.error("is written without \"spiffe://\": <trust domain>/ns/<namespace>/sa/<account>");
    }
    Some(text)
}
