//! What a connection from elsewhere asks for, and whose that is: the server name of mutual TLS
//! (`outbound_.9080_._.reviews.default.svc.cluster.local`), or the host of the first request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use api::Hostname;
use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{NodeError, NodeWorkload};
use crate::config::TransportProtocol;
use crate::listener::sniff::{self, Sniffed};

/// A head that is longer is no head.
pub const LONGEST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 128;

/// A host, and a port if one was named.
type Named = (String, Option<u16>);

/// One port of a workload: which workload, and where its listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub workload: usize,
    pub listener: SocketAddr,
}

/// The ports of all workloads, by the names under which callers know them.
#[derive(Debug, Default)]
pub struct Table {
    by_name: HashMap<String, Vec<(u16, Place)>>,
    /// Where there is only one port, everything is for it.
    only: Option<Place>,
}

impl Table {
    pub fn of(workloads: &[NodeWorkload]) -> Result<Self, NodeError> {
        let mut table = Self::default();
        let mut all = Vec::new();
        for (index, workload) in workloads.iter().enumerate() {
            let name = |index: usize| {
                format!("{}.{}", workloads[index].settings.workload, workloads[index].settings.namespace)
            };
            if let Some(other) = workloads[..index].iter().position(|other| other.uid == workload.uid) {
                return Err(NodeError::User { uid: workload.uid, one: name(other), other: name(index) });
            }
            let settings = &workload.settings;
            for served in &settings.services {
                let host = Hostname::resolve(&served.service, &settings.namespace, &settings.domain);
                let host = host.map_err(|error| NodeError::Name {
                    workload: name(index),
                    service: served.service.clone(),
                    reason: error.to_string(),
                })?;
                let place = Place { workload: index, listener: SocketAddr::new(settings.address, served.port) };
                if let Some(taken) = table.exactly(host.as_str(), served.port) {
                    let (one, other) = (name(taken.workload), name(index));
                    return Err(NodeError::Service { host: host.to_string(), port: served.port, one, other });
                }
                for alias in aliases(host.as_str(), &settings.domain) {
                    table.by_name.entry(alias.to_owned()).or_default().push((served.port, place));
                }
                all.push(place);
            }
        }
        table.only = if let [only] = all[..] { Some(only) } else { None };
        Ok(table)
    }

    fn exactly(&self, host: &str, port: u16) -> Option<Place> {
        let ports = self.by_name.get(host)?;
        ports.iter().find(|(number, _)| *number == port).map(|(_, place)| *place)
    }

    /// Whose a connection is. A short name that services of two namespaces have is nobody's.
    pub fn find(&self, named: Option<&Named>) -> Option<Place> {
        let found = named.and_then(|(host, port)| {
            let ports = self.by_name.get(host)?;
            let mut fitting = ports.iter().filter(|(number, _)| port.is_none_or(|port| port == *number));
            fitting.next().filter(|_| fitting.next().is_none()).map(|(_, place)| *place)
        });
        found.or(self.only)
    }
}

/// The names of a service: its host, and what is shorter below the mesh's domain.
fn aliases<'a>(host: &'a str, domain: &str) -> Vec<&'a str> {
    let mut names = vec![host];
    if let Some(short) = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")) {
        names.extend([&host[..short.len() + 4], short]);
        names.extend(short.split_once('.').map(|(name, _)| name));
    }
    names
}

/// Reads what a connection names; the bytes stay in `read`. `None` where it names nothing.
pub async fn named(tcp: &mut TcpStream, read: &mut BytesMut) -> io::Result<Option<Named>> {
    let mut sniffed = Sniffed::nothing();
    sniff::tls(tcp, read, &mut sniffed).await?;
    if sniffed.transport == TransportProtocol::Tls {
        return Ok(sniffed.server_name.as_deref().map(of_server_name));
    }
    sniff::http(tcp, read, &mut sniffed).await?;
    if sniffed.application_protocols != ["http/1.1"] {
        return Ok(None);
    }
    loop {
        match host_in(read) {
            Head::Whole(host) => return Ok(host.as_deref().map(of_authority)),
            Head::Part if read.len() > LONGEST_HEAD => return Err(io::ErrorKind::InvalidData.into()),
            Head::Part if tcp.read_buf(read).await? == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Head::Part => {}
        }
    }
}

enum Head {
    Part,
    /// Or one that the workload's proxy will refuse.
    Whole(Option<String>),
}

fn host_in(read: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(read) {
        Ok(httparse::Status::Partial) => Head::Part,
        Err(_) => Head::Whole(None),
        Ok(httparse::Status::Complete(_)) => {
            let uri = request.path.and_then(|path| path.parse::<http::Uri>().ok());
            let absolute = uri.and_then(|uri| uri.authority().map(|authority| authority.as_str().to_owned()));
            let host = || {
                let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"))?;
                std::str::from_utf8(header.value).ok().map(str::to_owned)
            };
            Head::Whole(absolute.or_else(host))
        }
    }
}

/// `outbound_.PORT_.SUBSET_.HOST`, or a host by itself.
fn of_server_name(name: &str) -> Named {
    let parts = name.strip_prefix("outbound_.").and_then(|rest| {
        let (port, rest) = rest.split_once("_.")?;
        let (_, host) = rest.split_once("_.")?;
        Some((host.to_owned(), Some(port.parse().ok()?)))
    });
    parts.unwrap_or_else(|| (name.to_ascii_lowercase(), None))
}

fn of_authority(authority: &str) -> Named {
    let authority = authority.to_ascii_lowercase();
    let named = authority.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), Some(port.parse().ok()?))));
    named.unwrap_or((authority, None))
}

#[cfg(test)]
mod tests;
