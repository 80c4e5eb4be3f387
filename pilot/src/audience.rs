//! What outbound configuration depends on in a proxy. Proxies of one audience share all of it.

use galley::kinds::Labels;
use registry::Locality;

use crate::node::{Capture, Features, NodeKind};

/// A class of proxies that see the same services in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Audience {
    pub kind: NodeKind,
    pub namespace: String,
    /// Only labels that some configuration selects clients by.
    pub labels: Labels,
    /// Empty where no configuration looks at it.
    pub locality: Locality,
    pub features: Features,
    pub capture: Option<Capture>,
}
