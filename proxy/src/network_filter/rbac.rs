//! Access control of connections (Envoy, `envoy.filters.network.rbac`). What it decides on does not change while a
//! connection lasts, so that judging it once, or again with all that comes (`CONTINUOUS`), is the same.

use std::time::Duration;

use api::prost_types::value::Kind;

use crate::access_log::RequestInfo;
use crate::downstream::Downstream;
use crate::rbac::{Facts, Rules};
use crate::stats::{Shard, label};

/// The namespace of its dynamic metadata, whatever the filter is called.
const NAMESPACE: &str = "envoy.filters.network.rbac";

/// `envoy.extensions.filters.network.rbac.v3.RBAC`.
#[derive(Debug, PartialEq)]
pub struct NetworkRbac {
    pub stat_prefix: String,
    pub rules: Option<Rules>,
    pub shadow_rules: Option<Rules>,
    pub shadow_rules_prefix: String,
    /// Before a connection that is denied is closed.
    pub delay_deny: Duration,
}

impl NetworkRbac {
    /// The reason if the connection is denied. What rules that only try would have decided is left as metadata.
    pub fn judge(&self, downstream: &Downstream, info: &mut RequestInfo) -> Option<String> {
        let shard = &downstream.worker.shard;
        if let Some(rules) = &self.shadow_rules {
            let decision = rules.decide(&Facts::new(&downstream.info, info, None));
            let verdict = if decision.allowed { "shadow_allowed" } else { "shadow_denied" };
            let prefix = &self.shadow_rules_prefix;
            self.count(&if prefix.is_empty() { verdict.to_owned() } else { format!("{prefix}_{verdict}") }, shard);
            let metadata = info.metadata.get_or_insert_default();
            let mut note = |name: &str, value: &str| {
                metadata.set(NAMESPACE, &format!("{prefix}shadow_{name}"), Kind::StringValue(value.to_owned()));
            };
            if let Some(policy) = rules.effective(decision) {
                note("effective_policy_id", policy);
            }
            note("engine_result", decision.as_str());
        }
        let rules = self.rules.as_ref()?;
        let decision = rules.decide(&Facts::new(&downstream.info, info, None));
        if decision.allowed {
            self.count("allowed", shard);
            return None;
        }
        Some(rules.denial(decision))
    }

    /// Counts a denial, and waits as long as it is to hurt.
    pub async fn deny(&self, shard: &Shard) {
        self.count("denied", shard);
        if !self.delay_deny.is_zero() {
            tokio::time::sleep(self.delay_deny).await;
        }
    }

    fn count(&self, name: &str, shard: &Shard) {
        let mut labels = String::new();
        label(&mut labels, "envoy_rbac_prefix", &self.stat_prefix);
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        shard.counter(&format!("envoy_rbac_{name}"), &labels).add(1);
    }
}
