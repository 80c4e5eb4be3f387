//! The closed list of kinds that the mesh takes.

use std::fmt;

/// A kind of configuration object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    Telemetry,
    MeshConfig,
}

/// Kind, its name, plural, short name, hyphenated name, API group.
const TABLE: [(Kind, &str, &str, &str, &str, &str); 11] = [
    (Kind::VirtualService, "VirtualService", "virtualservices", "vs", "virtual-service", NETWORKING),
    (Kind::DestinationRule, "DestinationRule", "destinationrules", "dr", "destination-rule", NETWORKING),
    (Kind::Gateway, "Gateway", "gateways", "gw", "gateway", NETWORKING),
    (Kind::ServiceEntry, "ServiceEntry", "serviceentries", "se", "service-entry", NETWORKING),
    (Kind::WorkloadEntry, "WorkloadEntry", "workloadentries", "we", "workload-entry", NETWORKING),
    (Kind::WorkloadGroup, "WorkloadGroup", "workloadgroups", "wg", "workload-group", NETWORKING),
    (Kind::PeerAuthentication, "PeerAuthentication", "peerauthentications", "pa", "peer-authentication", SECURITY),
    (
        Kind::RequestAuthentication,
        "RequestAuthentication",
        "requestauthentications",
        "ra",
        "request-authentication",
        SECURITY,
    ),
    (Kind::AuthorizationPolicy, "AuthorizationPolicy", "authorizationpolicies", "ap", "authorization-policy", SECURITY),
    (Kind::Telemetry, "Telemetry", "telemetries", "telemetry", "telemetry", TELEMETRY),
    (Kind::MeshConfig, "MeshConfig", "meshconfigs", "mc", "mesh-config", MESH),
];

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const TELEMETRY: &str = "telemetry.istio.io";
/// Of kinds that Istio lacks.
const MESH: &str = "mesh.weft.dev";

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::WorkloadGroup,
        Kind::PeerAuthentication,
        Kind::RequestAuthentication,
        Kind::AuthorizationPolicy,
        Kind::Telemetry,
        Kind::MeshConfig,
    ];

    /// The kind that an operator's word names: `VirtualService`, `virtualservices`, `virtual-service` or `vs`, in any
    /// case.
    pub fn named(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        TABLE
            .iter()
            .find(|(_, name, plural, short, hyphened, _)| {
                name.eq_ignore_ascii_case(&word) || [*plural, *short, *hyphened].contains(&word.as_str())
            })
            .map(|row| row.0)
    }

    pub fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// As in a REST path: `virtualservices`.
    pub fn plural(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// As in Istio's cluster metadata: `virtual-service`.
    pub fn hyphenated(self) -> &'static str {
        TABLE[self as usize].4
    }

    pub fn group(self) -> &'static str {
        TABLE[self as usize].5
    }

    /// All versions of a kind have one schema.
    pub fn versions(self) -> &'static [&'static str] {
        match self.group() {
            SECURITY => &["v1", "v1beta1"],
            TELEMETRY => &["v1", "v1alpha1"],
            MESH => &["v1alpha1"],
            _ => &["v1", "v1beta1", "v1alpha3"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_kind() {
        for kind in Kind::ALL {
            let upper = kind.as_str().to_uppercase();
            for word in [kind.as_str(), kind.plural(), kind.hyphenated(), &upper] {
                assert_eq!(Kind::named(word), Some(kind), "{word}");
            }
        }
        assert_eq!(Kind::named("vs"), Some(Kind::VirtualService));
        assert_eq!(Kind::named("Service"), None);
    }
}
