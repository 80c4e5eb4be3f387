//! The registry of a Consul datacenter: its services, and the instances behind them with their health.
//!
//! Blocking queries follow the names of the services, and the instances of each service as long as Consul takes so many
//! queries; else the nodes and the checks that do not pass, which tell what service to read anew. So a change costs a
//! query or two, and where nothing changes nothing is read. When the server is away, what it told stays in force, and once it is back
//! everything is read anew before anything is withdrawn.

mod book;
mod client;
mod convert;
mod endpoints;
mod entry;
mod limits;
mod options;
mod poll;
mod ports;
mod seen;
mod session;
mod update;
mod watch;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::source::{EventStream, Registry};

pub use options::{ConsulEnvironment, ConsulError, ConsulOptions};

/// A Consul datacenter as a registry. Cloning shares.
#[derive(Clone, Debug)]
pub struct Consul {
    name: Arc<str>,
    domain: Arc<str>,
    options: Arc<ConsulOptions>,
}

impl Consul {
    /// A registry of this name whose short hosts are below the mesh's DNS domain. Reads the files that the options name
    /// once, so that a wrong one is told now; whether the server is there shows only while watching.
    pub fn open(name: &str, domain: &str, options: ConsulOptions) -> Result<Self, ConsulError> {
        client::Client::open(&options)?;
        Ok(Self { name: name.into(), domain: domain.into(), options: Arc::new(options) })
    }
}

impl Registry for Consul {
    fn name(&self) -> &str {
        &self.name
    }

    fn watch(&self) -> EventStream {
        let (events, stream) = mpsc::unbounded_channel();
        let (partition, wan) = (self.options.partition.clone(), self.options.wan);
        let book = book::Book::new(convert::Context::new(&self.name, &self.domain, partition, wan));
        tokio::spawn(watch::run(self.options.clone(), book, events));
        Box::pin(UnboundedReceiverStream::new(stream))
    }
}

#[cfg(test)]
mod tests;
