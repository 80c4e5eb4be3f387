//! VirtualService: how requests and connections to hosts are routed (Istio `virtual_service.proto`).

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::check::{self, Scope};
use super::shared::{ExportTo, Labels, Pattern, Percent, StringMatch};
use crate::reader::Object;

mod action;
mod headers;
mod http;
mod l4;
mod matches;
mod policy;
mod reach;
mod refs;

/// Routing rules for hosts. Without hosts it is a delegate, used only from another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VirtualService {
    /// As written: short names, full names, wildcards, addresses.
    pub hosts: Vec<String>,
    /// `mesh`, or gateways as `namespace/name` (short names already completed). `["mesh"]` when none were given.
    pub gateways: Vec<String>,
    pub http: Vec<HttpRoute>,
    pub tls: Vec<TlsRoute>,
    pub tcp: Vec<TcpRoute>,
    pub export_to: ExportTo,
}

impl VirtualService {
    /// The reserved gateway name that stands for all sidecars.
    pub const MESH: &'static str = "mesh";

    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether sidecars heed it, or any of its rules: a match may name other gateways than the object.
    pub fn in_mesh(&self) -> bool {
        let http = self.http.iter().flat_map(|rule| &rule.matches).map(|of| &of.gateways);
        let tls = self.tls.iter().flat_map(|rule| &rule.matches);
        let tcp = self.tcp.iter().flat_map(|rule| &rule.matches);
        let of_matches = http.chain(tls.chain(tcp).map(|of| &of.gateways));
        of_matches.chain([&self.gateways]).flatten().any(|name| name == Self::MESH)
    }
}

/// One HTTP rule; the first that matches decides.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    pub name: String,
    /// Any of these must match; none means every request.
    pub matches: Vec<HttpMatch>,
    pub action: HttpAction,
    pub rewrite: Option<Rewrite>,
    /// `None` and zero: no limit.
    pub timeout: Option<Duration>,
    /// `None`: the mesh's default retries.
    pub retries: Option<Retries>,
    pub fault: Option<Fault>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
    pub headers: Headers,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HttpAction {
    /// At least one.
    Route(Vec<HttpDestination>),
    Redirect(Redirect),
    Direct(DirectResponse),
    /// The rules of another VirtualService, combined with this rule's match.
    Delegate(Delegate),
}

/// All conditions of one block must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatch {
    pub name: String,
    pub uri: Option<StringMatch>,
    pub ignore_uri_case: bool,
    pub scheme: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    /// Lower-case header names, or `@request.auth.claims…`.
    pub headers: BTreeMap<String, HeaderMatch>,
    pub without_headers: BTreeMap<String, HeaderMatch>,
    pub query_params: BTreeMap<String, HeaderMatch>,
    pub port: Option<u16>,
    /// Applied when the configuration for a workload is made, as are `source_namespace` and `gateways`.
    pub source_labels: Labels,
    pub source_namespace: String,
    /// Overrides the VirtualService's gateways when not empty; completed in the same way.
    pub gateways: Vec<String>,
    pub stat_prefix: String,
}

/// A match of a header's or query parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderMatch {
    Present,
    Value(StringMatch),
}

/// Where traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// As written.
    pub host: String,
    pub subset: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpDestination {
    pub destination: Destination,
    /// Relative; a single destination takes all whatever it says.
    pub weight: u32,
    pub headers: Headers,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub request: HeaderOps,
    pub response: HeaderOps,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    pub set: BTreeMap<String, String>,
    pub add: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub path: Option<RedirectPath>,
    pub authority: String,
    pub port: Option<RedirectPort>,
    pub scheme: String,
    /// 301, 302, 303, 307 or 308 (any 3xx is accepted); 301 when not given.
    pub code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    Full(String),
    Prefix(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    Number(u16),
    /// 80 or 443, by the scheme.
    FromProtocolDefault,
    FromRequestPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Option<DirectBody>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectBody {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    pub name: String,
    /// The object's own when none was given.
    pub namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// Replaces the matched prefix, or the whole path if the match was none of a prefix.
    pub uri: Option<String>,
    pub uri_regex: Option<RegexRewrite>,
    pub authority: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RegexRewrite {
    pub pattern: Pattern,
    /// With `\1` for groups.
    pub substitution: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// 0 turns retries off.
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    /// Conditions and status codes separated by commas, as written; empty means the default set.
    pub retry_on: String,
    pub remote_localities: Option<bool>,
    /// Whether endpoints already tried are avoided.
    pub ignore_previous_hosts: bool,
    /// Base of the back-off; `None`: 25 ms.
    pub backoff: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    pub delay: Option<Delay>,
    pub abort: Option<Abort>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delay {
    pub fixed: Duration,
    pub percentage: Percent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Abort {
    pub status: AbortStatus,
    pub percentage: Percent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    Http(u16),
    /// A gRPC status code, 0 to 16.
    Grpc(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub destination: Destination,
    pub percentage: Percent,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    pub allow_origins: Vec<StringMatch>,
    pub allow_methods: Vec<String>,
    pub allow_headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age: Option<Duration>,
    pub allow_credentials: Option<bool>,
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What happens to a preflight request whose origin is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPreflights {
    #[default]
    Forward,
    Ignore,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsRoute {
    /// Any of these; at least one, each with `sni_hosts`.
    pub matches: Vec<L4Match>,
    pub route: Vec<WeightedDestination>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpRoute {
    /// Any of these; none means every connection.
    pub matches: Vec<L4Match>,
    pub route: Vec<WeightedDestination>,
}

/// Conditions on a connection, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct L4Match {
    /// Only in TLS routes.
    pub sni_hosts: Vec<String>,
    pub destination_subnets: Vec<IpNet>,
    pub port: Option<u16>,
    /// Only in TCP routes.
    pub source_subnet: Option<IpNet>,
    pub source_labels: Labels,
    pub source_namespace: String,
    pub gateways: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightedDestination {
    pub destination: Destination,
    pub weight: u32,
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>, scope: &Scope<'_>) -> VirtualService {
    let gateways = refs::gateways(o, scope);
    let delegate = !o.has("hosts");
    let in_mesh = gateways.is_empty() || gateways.iter().any(|name| name == VirtualService::MESH);
    let context = refs::Context { scope, in_mesh, delegate };
    let hosts = refs::hosts(o, in_mesh);
    if delegate {
        for field in ["gateways", "tls", "tcp"].into_iter().filter(|field| o.has(field)) {
            o.error_at(field, "not allowed in a delegate (a VirtualService without hosts)");
        }
    }
    o.at_least_one(&["http", "tls", "tcp"]);
    let http: Vec<_> = o.each("http", |place| http::read(place, &context));
    reach::check(o, &http);
    let read = VirtualService {
        tls: o.each("tls", |place| l4::tls(place, &context, &hosts)),
        tcp: o.each("tcp", |place| l4::tcp(place, &context)),
        http,
        hosts,
        gateways: if gateways.is_empty() { vec![VirtualService::MESH.to_owned()] } else { gateways },
        export_to: check::export_to(o, scope, false),
    };
    if !in_mesh && read.in_mesh() && read.hosts.iter().any(|host| host == "*") {
        let why =
            "\"*\" is not allowed in the mesh, which a match names; put that rule into an object with hosts of its own";
        o.error_at("hosts", why);
    }
    read
}
