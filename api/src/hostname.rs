//! Hostnames of services: DNS-1123 names, lower case, possibly with a wildcard first label.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A service's hostname in lower case without a trailing dot: `reviews.default.svc.cluster.local`, or a wildcard
/// `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

/// Why a text is no hostname.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    #[error("a hostname has 1 to 255 characters, this one has {0}")]
    Length(usize),
    #[error("{label:?} in {host:?} is no DNS label: 1 to 63 of a-z 0-9 -, beginning and ending with a letter or digit")]
    Label { host: String, label: String },
    #[error("a wildcard stands only as the whole first label (*.example.com), not as in {0:?}")]
    Wildcard(String),
}

/// Whether a text is a DNS-1123 label: 1 to 63 of `a-z 0-9 -`, no hyphen at either end.
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// Whether a text is a label of a hostname: as in DNS-1123, or with underscores, which are no rarity in Consul and in the
/// DNS itself (RFC 8552).
fn is_host_label(text: &str) -> bool {
    is_dns_label(text) || text.contains('_') && is_dns_label(&text.replace('_', "x"))
}

impl Hostname {
    /// Checks a hostname; upper case is lowered and one trailing dot dropped.
    pub fn new(text: &str) -> Result<Self, HostnameError> {
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if host.is_empty() || host.len() > 255 {
            return Err(HostnameError::Length(host.len()));
        }
        let labels = if host == "*" { "" } else { host.strip_prefix("*.").unwrap_or(&host) };
        if labels.contains('*') {
            return Err(HostnameError::Wildcard(host));
        }
        if !labels.is_empty()
            && let Some(label) = labels.split('.').find(|label| !is_host_label(label))
        {
            return Err(HostnameError::Label { label: label.to_owned(), host: host.clone() });
        }
        Ok(Self(host.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether this name, wildcard or not, covers `other` (`*` covers all; `*.a.b` covers `x.a.b`, `x.y.a.b` and
    /// `*.x.a.b`, not `a.b`).
    pub fn covers(&self, other: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => other.len() > suffix.len() && other.ends_with(suffix) || &*self.0 == other,
            None => &*self.0 == other,
        }
    }

    /// Resolves a name as written in a rule: a short name (without a dot) in `namespace` becomes
    /// `name.namespace.svc.<domain>` (Istio, short names); anything else stays.
    pub fn resolve(text: &str, namespace: &str, domain: &str) -> Result<Self, HostnameError> {
        if text.contains('.') || text.starts_with('*') {
            Self::new(text)
        } else {
            Self::new(&format!("{text}.{namespace}.svc.{domain}"))
        }
    }

    /// The hosts that a name may stand for: itself, and the longer ones that `name.namespace` and `name.namespace.svc`
    /// are short for.
    pub fn spelled(text: &str, domain: &str) -> impl Iterator<Item = Self> + use<> {
        let hosts = [text.to_owned(), format!("{text}.svc.{domain}"), format!("{text}.{domain}")];
        hosts.into_iter().filter_map(|host| Self::new(&host).ok())
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Hostname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_resolve_in_the_namespace_of_the_rule() {
        let resolved = |text| Hostname::resolve(text, "shop", "cluster.local").unwrap().to_string();
        assert_eq!(resolved("reviews"), "reviews.shop.svc.cluster.local");
        assert_eq!(resolved("Reviews.Default.svc.cluster.local."), "reviews.default.svc.cluster.local");
        assert_eq!(resolved("*.example.com"), "*.example.com");
        assert_eq!(resolved("*"), "*");
    }

    #[test]
    fn wildcards_cover_longer_names_only() {
        let wildcard = Hostname::new("*.example.com").unwrap();
        assert!(wildcard.covers("a.example.com") && wildcard.covers("a.b.example.com"));
        assert!(wildcard.covers("*.example.com"));
        assert!(!wildcard.covers("example.com") && !wildcard.covers(".example.com"));
        assert!(Hostname::new("*").unwrap().covers("anything"));
        assert!(!Hostname::new("a.b").unwrap().covers("x.a.b"));
    }

    #[test]
    fn a_label_may_have_underscores() {
        assert_eq!(Hostname::new("Book_Reviews.example").unwrap().as_str(), "book_reviews.example");
        assert!(Hostname::new("_http._tcp.example").is_ok());
    }

    #[test]
    fn what_is_no_dns_name_is_refused() {
        for bad in ["", ".", "a..b", "-a", "a-", "a_b-", "a.*.b", "a*", "*a.b", "a b", &"a".repeat(64)] {
            assert!(Hostname::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
