//! PeerAuthentication: whether workloads demand mutual TLS of their callers (Istio `peer_authentication.proto`).

use std::collections::BTreeMap;

use super::check;
use super::shared::Labels;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<Labels>,
    pub mode: MtlsMode,
    /// By the port the workload listens on; only together with a selector.
    pub port_level: BTreeMap<u16, MtlsMode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtlsMode {
    /// Inherited from the next wider scope.
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> PeerAuthentication {
    let selector = o.read("selector", |place| check::selector(place, "matchLabels", 4096));
    let mode = o.read("mtls", mtls).unwrap_or_default();
    let port_level: BTreeMap<_, _> = o.field("portLevelMtls").map(|place| ports(&place)).unwrap_or_default();
    if o.has("portLevelMtls") && selector.as_ref().is_none_or(Labels::is_empty) {
        o.error_at("portLevelMtls", "needs a selector: ports are those of particular workloads");
    }
    PeerAuthentication { selector, mode, port_level }
}

fn ports(place: &Place<'_>) -> BTreeMap<u16, MtlsMode> {
    let entries = place.entries();
    if entries.is_empty() {
        place.error("must not be empty");
    }
    let port = |(key, value): (&str, Place<'_>)| match key.parse::<u16>() {
        Ok(port) if port > 0 => Some((port, mtls(&value)?)),
        _ => {
            value.error(format!("{key:?} is no port between 1 and 65535"));
            None
        }
    };
    entries.into_iter().filter_map(port).collect()
}

fn mtls(place: &Place<'_>) -> Option<MtlsMode> {
    const MODES: [(&str, MtlsMode); 4] = [
        ("UNSET", MtlsMode::Unset),
        ("DISABLE", MtlsMode::Disable),
        ("PERMISSIVE", MtlsMode::Permissive),
        ("STRICT", MtlsMode::Strict),
    ];
    place.object(|o| o.choice("mode", &MODES).unwrap_or_default())
}
