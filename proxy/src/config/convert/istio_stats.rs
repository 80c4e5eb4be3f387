//! The filter `istio.stats` (istio/proxy, `stats.PluginConfig`), whose metrics are counted here without it: it says
//! which of them are told, and with which labels.

use std::sync::Arc;

use api::cel::Expression;
use api::prost_types::Any;
use api::stats::{MetricConfig, PluginConfig, Reporter};

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::stats::{Metric, MetricRules};

/// Takes the filter out of a chain; `None` if it is not there. `typed` is a filter's settings.
pub(super) fn extract<F: Clone>(
    filters: &[F],
    at: &At<'_>,
    typed: impl Fn(&F) -> Option<&Any>,
) -> Result<(Vec<F>, Option<Arc<MetricRules>>), ConfigError> {
    let is_it = |filter: &F| typed(filter).is_some_and(basics::is_a::<PluginConfig>);
    let mut rules = None;
    for (index, filter) in filters.iter().enumerate().filter(|(_, filter)| is_it(filter)) {
        let at = at.index(index);
        let at = at.field("typed_config");
        let Some(any) = typed(filter) else { continue };
        rules = Some(Arc::new(convert(&basics::unpack(any, &at)?, &at)?));
    }
    Ok((filters.iter().filter(|filter| !is_it(filter)).cloned().collect(), rules))
}

fn convert(wire: &PluginConfig, at: &At<'_>) -> Result<MetricRules, ConfigError> {
    if wire.reporter() != Reporter::Unspecified {
        return Err(at.field("reporter").refuse("SERVER_GATEWAY", "is for waypoints, which there are none of here"));
    }
    let mut rules = MetricRules::default();
    let metrics = at.field("metrics");
    for (index, change) in wire.metrics.iter().enumerate() {
        apply(change, &mut rules, &metrics.index(index))?;
    }
    Ok(rules)
}

fn apply(wire: &MetricConfig, rules: &mut MetricRules, at: &At<'_>) -> Result<(), ConfigError> {
    let mut values = Vec::new();
    let dimensions = at.field("dimensions");
    for (name, text) in &wire.dimensions {
        let is_label = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_label) {
            return Err(dimensions.key(name).refuse(name, "is no name of a label"));
        }
        let expression = Expression::parse(text);
        let expression = expression.map_err(|error| dimensions.key(name).refuse(text, error.to_string()))?;
        let place = rules.values.iter().position(|known| *known == expression).unwrap_or_else(|| {
            rules.values.push(expression);
            rules.values.len() - 1
        });
        values.push((name.clone(), place));
    }
    let named = Metric::ALL.into_iter().filter(|metric| wire.name.is_empty() || metric.as_str() == wire.name);
    let named: Vec<Metric> = named.collect();
    if named.is_empty() {
        let known = Metric::ALL.map(Metric::as_str).join(", ");
        return Err(at.field("name").refuse(&wire.name, format!("is none of {known}")));
    }
    for metric in named {
        let rule = &mut rules.of[metric as usize];
        rule.dropped |= wire.drop;
        rule.removed.extend(wire.tags_to_remove.iter().cloned());
        for (name, place) in &values {
            rule.added.retain(|(known, _)| known != name);
            rule.added.push((name.clone(), *place));
        }
    }
    Ok(())
}
