//! The names of the mesh, arranged for lookup: with the shorter forms that this workload's namespace allows, the search
//! domain, and wildcards (Istio, `pkg/dns/client`).

use std::collections::HashMap;

use crate::config::{Name, NameTable};

/// What is known of a name.
#[derive(Debug, PartialEq)]
pub struct Found<'a> {
    pub name: &'a Name,
    /// The name that it stands for, if it was asked for below the search domain.
    pub stands_for: Option<&'a str>,
    /// Whether nobody but the mesh can know it, whatever is asked of it.
    pub is_own: bool,
}

#[derive(Debug)]
pub struct Names {
    by_name: HashMap<String, Name>,
}

impl Names {
    /// As a workload in `namespace` of a mesh with this domain calls them.
    pub fn new(table: &NameTable, namespace: &str, domain: &str) -> Self {
        let mut by_name: HashMap<String, Name> = table.names.clone().into_iter().collect();
        for (host, name) in &table.names {
            let Some((short, home)) = &name.short else { continue };
            // What ends in another domain is another mesh's, of which these forms say nothing.
            if *host != format!("{short}.{home}.svc.{domain}") {
                continue;
            }
            let forms = [format!("{short}.{home}"), format!("{short}.{home}.svc")].into_iter();
            for form in forms.chain((home == namespace).then(|| short.clone())) {
                by_name.entry(form).or_insert_with(|| name.clone());
            }
        }
        Self { by_name }
    }

    /// Looks a name up, itself first, then without the search domain, then below the most specific wildcard.
    pub fn find(&self, asked: &str, search: Option<&str>) -> Option<Found<'_>> {
        if let Some(name) = self.by_name.get(asked) {
            return Some(Found { name, stands_for: None, is_own: name.short.is_some() });
        }
        let searched = search.and_then(|domain| asked.strip_suffix(domain)?.strip_suffix('.'));
        if let Some((host, name)) = searched.and_then(|host| self.by_name.get_key_value(host)) {
            return Some(Found { name, stands_for: Some(host), is_own: true });
        }
        let parents = asked.match_indices('.').map(|(at, _)| format!("*{}", &asked[at..]));
        let name = parents.into_iter().find_map(|wildcard| self.by_name.get(&wildcard))?;
        Some(Found { name, stands_for: None, is_own: false })
    }
}
