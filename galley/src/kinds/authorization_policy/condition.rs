//! What else must hold (Istio `Condition`): attributes by their names, and their values.

use ipnet::IpNet;

use super::{Values, pattern, port, service_account};
use crate::kinds::check;
use crate::reader::{Object, Place, closest};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessCondition {
    Text(TextAttribute, Values),
    Address(AddressAttribute, Values<IpNet>),
    /// The port that the connection came to.
    Port(Values<u16>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextAttribute {
    RequestHeader(String),
    SourceNamespace,
    SourceServiceAccount,
    SourceTrustDomain,
    SourcePrincipal,
    RequestPrincipal,
    RequestAudiences,
    RequestPresenter,
    /// A claim of a verified token, by its path.
    RequestClaim(Vec<String>),
    Sni,
    /// What another filter left as dynamic metadata; a value in brackets is looked for in a list.
    FilterMetadata {
        filter: String,
        key: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressAttribute {
    Source,
    Remote,
    Destination,
}

impl AccessCondition {
    pub(super) fn asks_for_http(&self) -> bool {
        use TextAttribute as Text;
        matches!(
            self,
            Self::Text(
                Text::RequestHeader(_)
                    | Text::RequestPrincipal
                    | Text::RequestAudiences
                    | Text::RequestPresenter
                    | Text::RequestClaim(_),
                _
            )
        )
    }
}

impl TextAttribute {
    /// Whether it comes of a certificate or a token.
    fn is_identity(&self) -> bool {
        !matches!(self, Self::RequestHeader(_) | Self::Sni | Self::FilterMetadata { .. })
    }
}

/// Those without a name in brackets.
const NAMES: [&str; 13] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.trustDomain",
    "source.principal",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

pub(super) fn read(place: &Place<'_>, custom: bool) -> Option<AccessCondition> {
    place.object(|o| {
        let key = o.required("key").and_then(|place| Some((place.text()?, place)));
        // Known fields, also where the key is wrong.
        let (any, none) = (o.field("values"), o.field("notValues"));
        let (key, at) = key?;
        let condition = of_key(&key, o).map_err(|why| {
            let name = key.split('[').next().unwrap_or(&key);
            at.suggest(why, closest(name, NAMES.into_iter()).filter(|found| found != name));
        });
        if any.iter().chain(&none).all(|place| place.list().is_empty()) {
            o.place().error("needs values or notValues");
        }
        let condition = condition.ok()?;
        if let AccessCondition::Text(attribute, _) = &condition
            && custom
            && attribute.is_identity()
        {
            at.error(format!("{key} cannot be used with action CUSTOM"));
        }
        Some(condition)
    })?
}

fn of_key(key: &str, o: &Object<'_>) -> Result<AccessCondition, String> {
    use AccessCondition as Condition;
    let address = |attribute| Ok(Condition::Address(attribute, Values::read(o, "values", "notValues", check::subnet)));
    let text = |attribute| Ok(Condition::Text(attribute, Values::read(o, "values", "notValues", pattern)));
    let (name, brackets) = key.split_at(key.find('[').unwrap_or(key.len()));
    match (name, brackets.is_empty()) {
        ("source.ip", true) => address(AddressAttribute::Source),
        ("remote.ip", true) => address(AddressAttribute::Remote),
        ("destination.ip", true) => address(AddressAttribute::Destination),
        ("destination.port", true) => Ok(Condition::Port(Values::read(o, "values", "notValues", port))),
        ("source.namespace", true) => {
            Ok(Condition::Text(TextAttribute::SourceNamespace, Values::read(o, "values", "notValues", super::text)))
        }
        ("source.serviceAccount", true) => Ok(Condition::Text(
            TextAttribute::SourceServiceAccount,
            Values::read(o, "values", "notValues", service_account),
        )),
        ("source.trustDomain", true) => text(TextAttribute::SourceTrustDomain),
        ("source.principal", true) => text(TextAttribute::SourcePrincipal),
        ("request.auth.principal", true) => text(TextAttribute::RequestPrincipal),
        ("request.auth.audiences", true) => text(TextAttribute::RequestAudiences),
        ("request.auth.presenter", true) => text(TextAttribute::RequestPresenter),
        ("connection.sni", true) => text(TextAttribute::Sni),
        ("request.headers", false) => text(TextAttribute::RequestHeader(one(key, brackets)?)),
        ("request.auth.claims", false) => text(TextAttribute::RequestClaim(names(key, brackets)?)),
        (name, false) if name.starts_with("experimental.envoy.filters.") => {
            let filter = name.trim_start_matches("experimental.").to_owned();
            text(TextAttribute::FilterMetadata { filter, key: one(key, brackets)? })
        }
        ("destination.namespace" | "destination.labels" | "destination.name" | "destination.user", _) => Err(format!(
            "{name} is no condition: the policy's namespace and its selector say which workloads it is for"
        )),
        ("request.headers" | "request.auth.claims", true) => {
            Err(format!("{key} needs a name in brackets: {key}[name]"))
        }
        _ => Err(format!("{key:?} is no condition")),
    }
}

fn one(key: &str, brackets: &str) -> Result<String, String> {
    match names(key, brackets)?.as_mut_slice() {
        [name] => Ok(std::mem::take(name)),
        _ => Err(format!("{key:?} has one name in brackets")),
    }
}

/// `[a][b]`
fn names(key: &str, brackets: &str) -> Result<Vec<String>, String> {
    let bad = || format!("{key:?} has names in brackets that are not closed or empty");
    let inner = brackets.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(bad)?;
    let names: Vec<String> = inner.split("][").map(str::to_owned).collect();
    let good = names.iter().all(|name| !name.is_empty() && !name.contains(['[', ']']));
    if good { Ok(names) } else { Err(bad()) }
}
