//! Where tokens stand in a request: headers, query parameters, cookies.

use crate::http::message::RequestHead;
use crate::query;

/// Places, and whose tokens may stand there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places(Vec<(Place, Issuers)>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A header and what stands before the token.
    Header {
        name: String,
        prefix: String,
    },
    Parameter(String),
    Cookie(String),
}

/// Issuers whose tokens a place may hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issuers {
    any: bool,
    named: Vec<String>,
}

/// A token and where it stands.
pub struct Extracted<'a> {
    pub text: String,
    pub place: &'a Place,
    pub issuers: &'a Issuers,
}

impl Places {
    /// The places of one provider; an empty issuer is any.
    pub fn of(places: impl IntoIterator<Item = Place>, issuer: &str) -> Self {
        let mut all = Self::default();
        for place in places {
            all.add(place, &Issuers { any: issuer.is_empty(), named: vec![issuer.to_owned()] });
        }
        all
    }

    /// The places of several providers.
    pub fn join<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut joined = Self::default();
        for (place, issuers) in all.into_iter().flat_map(|places| &places.0) {
            joined.add(place.clone(), issuers);
        }
        joined
    }

    fn add(&mut self, place: Place, issuers: &Issuers) {
        match self.0.binary_search_by(|(known, _)| known.cmp(&place)) {
            Ok(at) => {
                self.0[at].1.any |= issuers.any;
                self.0[at].1.named.extend_from_slice(&issuers.named);
            }
            Err(at) => self.0.insert(at, (place, issuers.clone())),
        }
    }

    /// The tokens of a request: those in headers, then in the query, then in cookies.
    pub fn extract(&self, head: &RequestHead) -> Vec<Extracted<'_>> {
        let mut tokens = Vec::new();
        for (place, issuers) in &self.0 {
            let mut found = |text: String| tokens.push(Extracted { text, place, issuers });
            match place {
                // Two of them are read as one, which is no token (Envoy joins this header).
                Place::Header { name, prefix } if name == "authorization" => {
                    head.headers.joined(name).and_then(|value| after(&value, prefix)).into_iter().for_each(found);
                }
                Place::Header { name, prefix } => {
                    head.headers.get_all(name).filter_map(|value| after(value, prefix)).for_each(found);
                }
                Place::Parameter(name) => {
                    query::get(&head.path, name).into_iter().for_each(|value| found(value.into_owned()));
                }
                Place::Cookie(name) => cookie(head, name).into_iter().for_each(&mut found),
            }
        }
        tokens
    }
}

impl Place {
    /// Takes the token out of the request. Cookies stay (Envoy, `forward`).
    pub fn remove(&self, head: &mut RequestHead) {
        match self {
            Self::Header { name, .. } => drop(head.headers.remove(name)),
            Self::Parameter(name) => query::remove(&mut head.path, name),
            Self::Cookie(_) => {}
        }
    }
}

impl Issuers {
    pub fn allow(&self, issuer: &str) -> bool {
        self.any || self.named.iter().any(|named| named == issuer)
    }
}

/// What follows the prefix, from the first character on that a token may have; the value as it is where nothing does.
fn after(value: &[u8], prefix: &str) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    if prefix.is_empty() {
        return Some(value.into_owned());
    }
    let at = value.find(prefix)?;
    let rest = &value[at + prefix.len()..];
    let begins = rest.find(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    Some(begins.map_or(&*value, |begins| &rest[begins..]).to_owned())
}

/// The first cookie of a name, without quotes around its value (RFC 6265 section 4.1.1).
fn cookie(head: &RequestHead, name: &str) -> Option<String> {
    head.headers.get_all("cookie").find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let mut pairs = line.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some(quoted.unwrap_or(value).to_owned())
    })
}
