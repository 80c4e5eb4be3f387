//! Which virtual host serves a host name: exact, then the longest `*suffix`, then the longest `prefix*`, then `*`.

use std::collections::HashMap;

use smallvec::SmallVec;

/// Positions of virtual hosts by name, or by the fixed part of a wildcard.
type Names = HashMap<Box<[u8]>, usize>;

/// Longest first, so that a lookup is one hash per length in use.
type ByLength = Vec<(usize, Names)>;

/// An index over the domains of all virtual hosts; values are their positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Domains {
    exact: Names,
    suffixes: ByLength,
    prefixes: ByLength,
    any: Option<usize>,
}

impl Domains {
    /// Adds a domain. False if it is there already.
    pub fn insert(&mut self, domain: &str, host: usize) -> bool {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return self.any.replace(host).is_none();
        }
        let map = if let Some(suffix) = domain.strip_prefix('*') {
            return of_length(&mut self.suffixes, suffix.len()).insert(suffix.as_bytes().into(), host).is_none();
        } else if let Some(prefix) = domain.strip_suffix('*') {
            return of_length(&mut self.prefixes, prefix.len()).insert(prefix.as_bytes().into(), host).is_none();
        } else {
            &mut self.exact
        };
        map.insert(domain.as_bytes().into(), host).is_none()
    }

    /// Finds the virtual host for a host name, whatever its case. A wildcard stands for at least one byte.
    pub fn find(&self, host: &str) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let lower: SmallVec<[u8; 128]> = host.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
        self.exact
            .get(lower.as_slice())
            .or_else(|| longest(&self.suffixes, lower.len(), |length| &lower[lower.len() - length..]))
            .or_else(|| longest(&self.prefixes, lower.len(), |length| &lower[..length]))
            .copied()
            .or(self.any)
    }
}

fn of_length(maps: &mut ByLength, length: usize) -> &mut Names {
    let at = maps.binary_search_by(|(other, _)| length.cmp(other));
    let at = at.unwrap_or_else(|at| {
        maps.insert(at, (length, HashMap::new()));
        at
    });
    &mut maps[at].1
}

fn longest<'a, 'b>(
    maps: &'a [(usize, Names)],
    host_length: usize,
    part: impl Fn(usize) -> &'b [u8],
) -> Option<&'a usize> {
    maps.iter().filter(|(length, _)| *length < host_length).find_map(|(length, map)| map.get(part(*length)))
}
