//! How a cluster chooses among its endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LbPolicy {
    RoundRobin {
        slow_start: Option<SlowStart>,
    },
    LeastRequest {
        choices: Choices,
        /// How much work under way weighs where weights differ (Envoy `active_request_bias`, default 1).
        bias: f64,
        slow_start: Option<SlowStart>,
    },
    Random,
    RingHash(RingHash),
    Maglev {
        /// A prime.
        table_size: u64,
        by_hostname: bool,
    },
}

/// Among how many hosts the least busy is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choices {
    Some(u32),
    All,
}

/// `SlowStartConfig`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// More than zero.
    pub window: Duration,
    /// More than zero; 1 is linear.
    pub aggression: f64,
    /// The part of its weight that a host begins with (Envoy default 0.1).
    pub least: f64,
}

/// `RingHashLbConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingHash {
    pub minimum: u64,
    pub maximum: u64,
    pub function: HashFunction,
    pub by_hostname: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    XxHash,
    Murmur2,
}

/// `filter_metadata["envoy.lb"]`: values as JSON text, so that text and numbers stay apart.
pub type LbMetadata = BTreeMap<String, String>;

/// `LbSubsetConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetRules {
    pub selectors: Vec<SubsetSelector>,
    /// For requests that no subset is for.
    pub fallback: SubsetFallback,
    pub default_subset: LbMetadata,
    /// Whether the weights of localities count in subsets too.
    pub locality_weighted: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubsetSelector {
    /// Sorted.
    pub keys: Vec<String>,
    /// `None` is that of the rules.
    pub fallback: Option<SubsetFallback>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubsetFallback {
    None,
    AnyEndpoint,
    DefaultSubset,
    /// The subset for fewer keys.
    Keys(Vec<String>),
}

impl LbPolicy {
    /// Whether the choice follows from a hash.
    pub fn hashes(&self) -> bool {
        matches!(self, Self::RingHash(_) | Self::Maglev { .. })
    }

    pub fn slow_start(&self) -> Option<SlowStart> {
        match self {
            Self::RoundRobin { slow_start } | Self::LeastRequest { slow_start, .. } => *slow_start,
            _ => None,
        }
    }
}
