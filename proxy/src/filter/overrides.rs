//! `typed_per_filter_config`: what one level of the routes sets for filters, by their names in the chain.

use super::Settings;

/// Of a table, virtual host, route or weighted cluster. There are few, so they are searched one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(Vec<Override>);

#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The filter's name in the chain.
    pub name: String,
    /// Whether the filter does not run here; if not, it does, even where the chain disables it.
    pub disabled: bool,
    pub settings: Option<Settings>,
}

impl Overrides {
    pub fn new(entries: Vec<Override>) -> Self {
        Self(entries)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, name: &str) -> Option<&Override> {
        self.0.iter().find(|entry| entry.name == name)
    }
}
