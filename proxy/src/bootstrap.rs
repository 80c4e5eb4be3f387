//! Bootstrap files as Envoy takes them, in YAML or JSON: from the text to what a proxy serves. Everything that can be
//! found wrong without serving is found here.

pub(crate) mod document;
mod enums;
mod extensions;
mod place;
pub(crate) mod proto_json;

use std::path::Path;
use std::sync::Arc;

use crate::config::{Bootstrap, ConfigError, FilterChain, Snapshot, convert};
use crate::tls::{TlsError, TlsSettings};

/// Why a bootstrap file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("{0}")]
    Syntax(String),
    /// A value is of another type than its field, or its field does not exist.
    #[error("{path}: {message}")]
    Mapping { path: String, message: String },
    /// One line for each refusal.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    /// One of the above, each line with its place in the file.
    #[error("{}", .0.join("\n"))]
    Located(Vec<String>),
}

impl BootstrapError {
    /// Says in which line of the text each refused field stands, where that can be told.
    fn located(self, text: &str, format: Format) -> Self {
        let at = |path: &str| match place::line_of(text, path) {
            Some(line) if format == Format::Yaml => format!("line {line}: "),
            _ => String::new(),
        };
        match &self {
            Self::Mapping { path, .. } => Self::Located(vec![at(path) + &self.to_string()]),
            Self::Config(errors) => {
                Self::Located(errors.iter().map(|error| at(&error.path) + &error.to_string()).collect())
            }
            _ => self,
        }
    }
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
}

impl Format {
    /// By the file's extension: `.json`, and YAML otherwise.
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "json") { Self::Json } else { Self::Yaml }
    }
}

/// Reads and checks a bootstrap file, and the files that it names.
pub fn read_bootstrap(path: &Path) -> Result<Bootstrap, BootstrapError> {
    let text = std::fs::read_to_string(path).map_err(BootstrapError::Unreadable)?;
    let format = Format::of(path);
    parse_bootstrap(&text, format).map_err(|error| error.located(&text, format))
}

/// Checks the text of a bootstrap file, and reads the files that it names.
pub fn parse_bootstrap(text: &str, format: Format) -> Result<Bootstrap, BootstrapError> {
    let mut value = document::parse(text, format).map_err(BootstrapError::Syntax)?;
    extensions::unwrap_structs(&mut value);
    extensions::take_internal_listeners(&mut value)?;
    let file = proto_json::encoded::<api::envoy::config::bootstrap::v3::Bootstrap>(value)?;
    let read = |path: &str| std::fs::read(path);
    let bootstrap = convert::bootstrap(file.into_boxed_slice().into(), &read).map_err(BootstrapError::Config)?;
    check_tls(&bootstrap).map_err(|error| BootstrapError::Config(vec![error]))?;
    Ok(bootstrap)
}

impl Bootstrap {
    /// What the workers run on.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            listeners: self.listeners.iter().map(|listener| (listener.name.clone(), Arc::clone(listener))).collect(),
            clusters: self.clusters.iter().map(|cluster| (cluster.name.clone(), Arc::clone(cluster))).collect(),
            secrets: self.secrets.iter().cloned().collect(),
            ..Snapshot::default()
        }
    }
}

/// Whether certificates and keys can be used.
fn check_tls(bootstrap: &Bootstrap) -> Result<(), ConfigError> {
    let (snapshot, settings) = (bootstrap.snapshot(), TlsSettings { identity: None });
    // A secret that is to come is judged when it comes.
    let judged = |built: Result<(), TlsError>| if let Err(TlsError::NoSecret(_)) = built { Ok(()) } else { built };
    let server = |chain: &FilterChain| {
        chain.tls.as_ref().map_or(Ok(()), |tls| judged(settings.server(tls, &snapshot).map(drop)))
    };
    for (index, listener) in bootstrap.listeners.iter().enumerate() {
        let path = format!("static_resources.listeners[{index}]");
        for (index, chain) in listener.filter_chains.iter().enumerate() {
            server(chain).map_err(|error| refuse(format!("{path}.filter_chains[{index}].transport_socket"), error))?;
        }
        if let Some(chain) = &listener.default_filter_chain {
            server(chain).map_err(|error| refuse(format!("{path}.default_filter_chain.transport_socket"), error))?;
        }
    }
    for (index, cluster) in bootstrap.clusters.iter().enumerate() {
        let path = format!("static_resources.clusters[{index}]");
        let matched = cluster.transport_socket_matches.iter().filter_map(|matched| matched.tls.as_ref());
        for tls in cluster.tls.iter().chain(matched) {
            judged(settings.client(tls, &snapshot).map(drop))
                .map_err(|error| refuse(format!("{path}.transport_socket"), error))?;
        }
    }
    Ok(())
}

fn refuse(path: String, error: TlsError) -> ConfigError {
    ConfigError { path, value: "TLS".to_owned(), rule: error.to_string() }
}

#[cfg(test)]
mod tests;
