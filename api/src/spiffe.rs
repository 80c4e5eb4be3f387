//! SPIFFE IDs and trust domains, checked on entry (SPIFFE-ID standard, section 2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A trust domain name: lower-case letters, digits, `.`, `-` and `_`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// A SPIFFE ID of the form `spiffe://<trust domain>/<path>`, at most 2048 bytes. The path is never empty: an ID
/// without a path names the trust domain itself, which no workload may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: Arc<str>,
}

/// Why a text is no SPIFFE ID or trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    #[error("a SPIFFE ID starts with \"spiffe://\", this one does not: {0:?}")]
    Scheme(String),
    #[error("a SPIFFE ID has at most 2048 bytes, this one has {0}")]
    Length(usize),
    #[error("a trust domain has 1 to 255 characters of a-z 0-9 . - _, this one does not: {0:?}")]
    TrustDomain(String),
    #[error("a SPIFFE ID of a workload has a path after its trust domain, this one has none: {0:?}")]
    NoPath(String),
    #[error(
        "a SPIFFE path has segments of a-z A-Z 0-9 . - _ that are not empty, \".\" or \"..\", this one does not: {0:?}"
    )]
    Path(String),
}

const SCHEME: &str = "spiffe://";
const MAX_LENGTH: usize = 2048;

impl TrustDomain {
    /// Checks and keeps a trust domain name (without scheme).
    pub fn new(name: &str) -> Result<Self, SpiffeError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
            return Err(SpiffeError::TrustDomain(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID that Istio gives to a service account: `spiffe://<td>/ns/<namespace>/sa/<account>`.
    pub fn workload(&self, namespace: &str, service_account: &str) -> Result<SpiffeId, SpiffeError> {
        format!("{SCHEME}{self}/ns/{namespace}/sa/{service_account}").parse()
    }
}

impl SpiffeId {
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Namespace and service account, where the path has Istio's shape `/ns/<namespace>/sa/<account>`.
    pub fn workload(&self) -> Option<(&str, &str)> {
        let mut segments = self.path.split('/').skip(1);
        match (segments.next()?, segments.next()?, segments.next()?, segments.next()?, segments.next()) {
            ("ns", namespace, "sa", account, None) => Some((namespace, account)),
            _ => None,
        }
    }

    /// The same path in another trust domain.
    pub fn within(&self, trust_domain: &TrustDomain) -> Self {
        Self { trust_domain: trust_domain.clone(), path: self.path.clone() }
    }

    pub fn namespace(&self) -> Option<&str> {
        Some(self.workload()?.0)
    }

    pub fn service_account(&self) -> Option<&str> {
        Some(self.workload()?.1)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > MAX_LENGTH {
            return Err(SpiffeError::Length(text.len()));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeError::Scheme(text.to_owned()))?;
        let slash = rest.find('/').ok_or_else(|| SpiffeError::NoPath(text.to_owned()))?;
        let (domain, path) = rest.split_at(slash);
        let trust_domain = TrustDomain::new(domain)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
        if !path[1..].split('/').all(good) {
            return Err(SpiffeError::Path(text.to_owned()));
        }
        Ok(Self { trust_domain, path: path.into() })
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_id_reads_back() {
        let id = TrustDomain::new("cluster.local").unwrap().workload("default", "bookinfo-reviews").unwrap();
        assert_eq!(id.to_string(), "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
        assert_eq!(id.workload(), Some(("default", "bookinfo-reviews")));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for bad in [
            "https://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe:///ns/a/sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://user@cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:80/ns/a/sa/b",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/./sa/b",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b?x=1",
            "spiffe://cluster.local/ns/a/sa/b#x",
            "spiffe://cluster.local/ns/%61/sa/b",
            "spiffe://cluster.local/ns/a/sa/b\0c",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad} was accepted");
        }
        let long = format!("spiffe://cluster.local/{}", "a".repeat(2048));
        assert!(matches!(long.parse::<SpiffeId>(), Err(SpiffeError::Length(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_reads_back(text in "(spiffe://)?\\PC{0,60}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                proptest::prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
