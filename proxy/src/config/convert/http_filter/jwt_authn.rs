//! JWT authentication: rules and what they require.

mod provider;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use wire::jwt_requirement::RequiresType;
use wire::per_route_config::RequirementSpecifier;
use wire::requirement_rule::RequirementType;

use super::super::{ReadFile, route_match};
use crate::config::error::{At, ConfigError};
use crate::filter::jwt_authn::{JwtAuthn, Needed, PerRoute, Places, Provider, Requirement};

pub fn convert(wire: &wire::JwtAuthentication, at: &At<'_>, read_file: ReadFile<'_>) -> Result<JwtAuthn, ConfigError> {
    let places = at.field("providers");
    let providers = wire
        .providers
        .iter()
        .map(|(name, wire)| provider::convert(name, wire, &places.key(name), read_file).map(Arc::new));
    let known = Known(providers.collect::<Result<_, _>>()?);
    let map = at.field("requirement_map");
    let named = wire.requirement_map.iter().map(|(name, wire)| {
        let requirement = known.requirement(wire, &map.key(name))?;
        Ok((name.clone(), requirement))
    });
    let named = named.collect::<Result<BTreeMap<_, _>, ConfigError>>()?;
    let rules_at = at.field("rules");
    let rules = wire.rules.iter().enumerate().map(|(index, rule)| {
        let at = rules_at.index(index);
        let place = at.field("match");
        let matches = rule.r#match.as_ref().ok_or_else(|| place.missing())?;
        Ok((route_match::convert(matches, &place)?, required(rule, &known, &named, &at)?))
    });
    Ok(JwtAuthn {
        rules: rules.collect::<Result<_, ConfigError>>()?,
        named,
        providers: known.0,
        bypass_cors_preflight: wire.bypass_cors_preflight,
        strip_failure_response: wire.strip_failure_response,
    })
}

/// What a route, virtual host, weighted cluster or table sets.
pub fn per_route(wire: &wire::PerRouteConfig, at: &At<'_>) -> Result<PerRoute, ConfigError> {
    match &wire.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(PerRoute::Disabled),
        Some(RequirementSpecifier::Disabled(false)) => Err(at.field("disabled").refuse(false, "is true or not set")),
        Some(RequirementSpecifier::RequirementName(name)) if !name.is_empty() => {
            Ok(PerRoute::Requirement(name.clone()))
        }
        _ => Err(at.field("requirement_name").missing()),
    }
}

fn required(
    rule: &wire::RequirementRule,
    known: &Known,
    named: &BTreeMap<String, Requirement>,
    at: &At<'_>,
) -> Result<Requirement, ConfigError> {
    match &rule.requirement_type {
        None => Ok(Requirement::Nothing),
        Some(RequirementType::Requires(wire)) => known.requirement(wire, &at.field("requires")),
        Some(RequirementType::RequirementName(name)) => named
            .get(name)
            .cloned()
            .ok_or_else(|| at.field("requirement_name").refuse(name, "is not in requirement_map")),
    }
}

/// The providers, sorted by name.
struct Known(Vec<Arc<Provider>>);

impl Known {
    fn requirement(&self, wire: &wire::JwtRequirement, at: &At<'_>) -> Result<Requirement, ConfigError> {
        match &wire.requires_type {
            None => Ok(Requirement::Nothing),
            Some(RequiresType::ProviderName(name)) => {
                let provider = self.named(name, &at.field("provider_name"))?;
                Ok(Requirement::Provider(Needed { provider, audiences: None }))
            }
            Some(RequiresType::ProviderAndAudiences(wire)) => {
                let at = at.field("provider_and_audiences");
                let provider = self.named(&wire.provider_name, &at.field("provider_name"))?;
                let audiences = (!wire.audiences.is_empty()).then(|| provider::audiences(&wire.audiences));
                Ok(Requirement::Provider(Needed { provider, audiences }))
            }
            Some(RequiresType::RequiresAny(list)) => self.any(&list.requirements, &at.field("requires_any")),
            Some(RequiresType::RequiresAll(list)) => {
                let all = self.list(&list.requirements, &at.field("requires_all"))?;
                Ok(Requirement::All(all))
            }
            Some(RequiresType::AllowMissing(_)) => Ok(Requirement::AllowMissing(self.places(&[]))),
            Some(RequiresType::AllowMissingOrFailed(_)) => Ok(Requirement::AllowMissingOrFailed(self.places(&[]))),
            Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
                let at = at.field("extract_only_without_validation");
                Err(at.refuse("set", "is not supported: claims that nobody verified are not passed on"))
            }
        }
    }

    fn named(&self, name: &str, at: &At<'_>) -> Result<Arc<Provider>, ConfigError> {
        let provider = self.0.iter().find(|provider| provider.name == name);
        provider.cloned().ok_or_else(|| at.refuse(name, "is not among the providers"))
    }

    fn list(&self, wire: &[wire::JwtRequirement], at: &At<'_>) -> Result<Vec<Requirement>, ConfigError> {
        let at = at.field("requirements");
        if wire.len() < 2 {
            return Err(at.refuse(wire.len(), "are two or more"));
        }
        wire.iter().enumerate().map(|(index, wire)| self.requirement(wire, &at.index(index))).collect()
    }

    /// What lets requests without a token go comes last, and looks where the others beside it look.
    fn any(&self, wire: &[wire::JwtRequirement], at: &At<'_>) -> Result<Requirement, ConfigError> {
        let mut all = self.list(wire, at)?;
        let beside: Vec<Arc<Provider>> = all
            .iter()
            .filter_map(|one| match one {
                Requirement::Provider(needed) => Some(Arc::clone(&needed.provider)),
                _ => None,
            })
            .collect();
        let lenient = |one: &Requirement| matches!(one, Requirement::AllowMissingOrFailed(_));
        let optional = |one: &Requirement| matches!(one, Requirement::AllowMissing(_)) || lenient(one);
        let last = match (all.iter().any(lenient), all.iter().any(optional)) {
            (true, _) => Some(Requirement::AllowMissingOrFailed(self.places(&beside))),
            (false, true) => Some(Requirement::AllowMissing(self.places(&beside))),
            (false, false) => None,
        };
        all.retain(|one| !optional(one));
        all.extend(last);
        Ok(Requirement::Any(all))
    }

    /// Where the tokens of these providers stand; without any, those of all.
    fn places(&self, of: &[Arc<Provider>]) -> Places {
        let of = if of.is_empty() { &self.0 } else { of };
        Places::join(of.iter().map(|provider| &provider.places))
    }
}
