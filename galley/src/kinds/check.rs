//! Rules that several kinds share: hosts, visibility, selectors, DNS labels.

use ipnet::IpNet;

use super::shared::{ExportTo, Labels};
use crate::diagnostic::code;
use crate::reader::{Object, Place};

/// What a kind's reader knows besides the text: where the object is.
pub(crate) struct Scope<'s> {
    pub namespace: &'s str,
}

/// Which wildcards a host may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcard {
    None,
    /// `*` and `*.x`.
    WholeLabel,
    /// Also `*-x` and `*x` as the first label.
    PartOfLabel,
}

/// A DNS name in any case: labels of letters, digits and hyphens.
pub(super) fn host(place: &Place<'_>, wildcard: Wildcard) -> Option<String> {
    let text = place.text()?;
    if let Err(why) = host_rule(&text, wildcard) {
        place.error(why);
    }
    Some(text)
}

pub(super) fn host_rule(text: &str, wildcard: Wildcard) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.len() > 255 {
        return Err(format!("a host has 1 to 255 characters, this one has {}", name.len()));
    }
    if name == "*" {
        return if wildcard == Wildcard::None { Err("a wildcard is not allowed here".into()) } else { Ok(()) };
    }
    let mut labels = name.split('.');
    let first = labels.next().unwrap_or_default();
    match first.strip_prefix('*') {
        Some(_) if wildcard == Wildcard::None => return Err("a wildcard is not allowed here".into()),
        Some("") => {}
        Some(rest) if wildcard == Wildcard::PartOfLabel => label_rule(text, rest.trim_start_matches('-'))?,
        Some(_) => return Err(format!("in {text:?} the wildcard must be the whole first label (*.example.com)")),
        None => label_rule(text, first)?,
    }
    labels.try_for_each(|label| label_rule(text, label))?;
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.contains('.') && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the top-level domain of {text:?} must not be a number"));
    }
    Ok(())
}

fn label_rule(text: &str, label: &str) -> Result<(), String> {
    if is_label(label) {
        return Ok(());
    }
    Err(format!("{label:?} in {text:?} is no DNS label: 1 to 63 of a-z 0-9 -, a letter or digit at both ends"))
}

pub(crate) fn is_label(label: &str) -> bool {
    api::is_dns_label(&label.to_ascii_lowercase())
}

/// Whether a text is a lower-case DNS name without wildcards: what objects are called.
pub(crate) fn host_is_plain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(api::is_dns_label)
}

/// A DNS label, such as a subset's name.
pub(super) fn dns_label(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if !is_label(&text) {
        place.error(format!("{text:?} is no DNS label: 1 to 63 of a-z 0-9 -, a letter or digit at both ends"));
    }
    Some(text)
}

pub(super) fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// An address, or a range in CIDR notation.
pub(super) fn subnet(place: &Place<'_>) -> Option<IpNet> {
    let text = place.text()?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    if parsed.is_none() {
        place.error(format!("{text:?} is no IP address and no range such as 10.0.0.0/8"));
    }
    parsed
}

/// `exportTo`; `nobody` says whether `~` is allowed.
pub(super) fn export_to(o: &Object<'_>, scope: &Scope<'_>, nobody: bool) -> ExportTo {
    let mut names: Vec<String> = Vec::new();
    let written = o.each("exportTo", |place| {
        let text = place.text()?;
        match text.as_str() {
            "." | "*" => {}
            "~" if nobody => {}
            name if is_label(name) => {}
            name => place.error(format!("{name:?} is none of \".\", \"*\" and a namespace")),
        }
        let name = if text == "." { scope.namespace.to_owned() } else { text.clone() };
        if names.contains(&name) {
            place.error(format!("{text:?} is there twice"));
        }
        names.push(name);
        Some(text)
    });
    if written.len() > 1 && written.iter().any(|name| name == "*" || name == "~") {
        o.error_at("exportTo", "\"*\" and \"~\" must stand alone");
    }
    match names.first().map(String::as_str) {
        None | Some("*") => ExportTo::All,
        Some("~") => ExportTo::Nobody,
        Some(_) => ExportTo::Namespaces(names),
    }
}

/// A selector: `{matchLabels: …}` of the security kinds, `{labels: …}` of the networking kinds.
pub(super) fn selector(place: &Place<'_>, field: &'static str, most: usize) -> Option<Labels> {
    place.object(|o| {
        let labels = o.field(field).map(|place| {
            check_selector(&place, most);
            place.labels()
        });
        let labels = labels.unwrap_or_default();
        if labels.is_empty() {
            place.warn(code::SCHEMA_WARNING, "an empty selector selects every workload; leave it out to say so");
        }
        labels
    })
}

/// Policies are for workloads by their labels; what a reference would be to is not served here.
pub(super) fn no_target_refs(o: &Object<'_>) {
    const WHY: &str = "policies by reference are not supported; name the workloads, or the gateway's, by selector";
    o.refuse("targetRef", WHY);
    o.refuse("targetRefs", WHY);
}

fn check_selector(place: &Place<'_>, most: usize) {
    let entries = place.entries();
    if entries.len() > most {
        place.error(format!("at most {most} labels, not {}", entries.len()));
    }
    for (key, value) in entries {
        let text = value.node.as_text().unwrap_or_default();
        if key.is_empty() {
            value.error("a label's name must not be empty");
        }
        if key.contains('*') || text.contains('*') {
            value.error("a wildcard is not allowed in a selector");
        }
        if text.chars().count() > 63 {
            value.error("a label's value has at most 63 characters");
        }
    }
}

/// Labels of a workload or subset: names and values as Kubernetes takes them.
pub(super) fn labels(place: &Place<'_>) -> Labels {
    for (key, value) in place.entries() {
        let name = key.rsplit('/').next().unwrap_or_default();
        if !is_label_word(name) || name.is_empty() {
            value.error(format!("{key:?} is no label name"));
        }
        if let Some(text) = value.node.as_text()
            && !is_label_word(text)
        {
            value.error(format!("{text:?} is no label value: at most 63 of a-z A-Z 0-9 - _ ."));
        }
    }
    place.labels()
}

fn is_label_word(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && edge(text.chars().next())
        && edge(text.chars().last())
}

/// A protocol's name, in any case.
pub(super) fn protocol(place: &Place<'_>) -> Option<registry::Protocol> {
    let text = place.text()?;
    let protocol = registry::Protocol::named(&text);
    if protocol.is_none() {
        place.error(format!(
            "{text:?} is no protocol: HTTP, HTTP2, HTTPS, GRPC, GRPC-WEB, TLS, TCP, UDP, MONGO, REDIS or MYSQL"
        ));
    }
    protocol
}

/// The name of a header (RFC 9110 section 5.1).
pub(super) fn is_token(text: &str) -> bool {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(in_token)
}

/// The value of a header: printable ASCII (RFC 9110 section 5.5, without what is obsolete).
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
