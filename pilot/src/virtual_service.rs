//! VirtualServices with hosts resolved and delegates put in.

mod delegate;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Hostname;
use galley::kinds::{ExportTo, HttpAction, HttpRoute, L4Match, TcpRoute, TlsRoute, VirtualService};
use galley::{Config, Meta};

use crate::diagnostic::{Code, Findings};
use crate::mesh::MeshConfig;

/// All but the delegates, oldest first.
#[derive(Debug, Default)]
pub(crate) struct VirtualServices(Vec<Arc<Rules>>);

/// One VirtualService.
#[derive(Debug)]
pub(crate) struct Rules {
    pub meta: Meta,
    pub hosts: Vec<Hostname>,
    pub gateways: Vec<String>,
    pub http: Vec<HttpRule>,
    pub tls: Vec<TlsRoute>,
    pub tcp: Vec<TcpRoute>,
    export_to: ExportTo,
}

/// One HTTP rule, never a delegation.
#[derive(Clone, Debug)]
pub(crate) struct HttpRule {
    pub route: HttpRoute,
    /// Where short names of its destinations resolve: the namespace of the object it stands in.
    pub namespace: String,
}

impl VirtualServices {
    pub fn new(configs: &[Arc<Config<VirtualService>>], mesh: &MeshConfig, findings: &mut Findings) -> Self {
        let roots = configs.iter().filter(|config| !config.spec.is_delegate());
        Self(roots.map(|config| Arc::new(Rules::new(config, configs, mesh, findings))).collect())
    }

    /// Those that a proxy of a namespace may see, oldest first.
    pub fn visible_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Rules>> {
        self.0.iter().filter(move |rules| rules.export_to.visible_in(namespace))
    }

    /// The labels by which rules tell callers apart.
    pub fn source_labels(&self) -> BTreeSet<String> {
        let of_l4 =
            |matches: &[L4Match]| matches.iter().flat_map(|m| m.source_labels.keys().cloned()).collect::<Vec<_>>();
        let mut labels = BTreeSet::new();
        for rules in &self.0 {
            let http = rules.http.iter().flat_map(|rule| &rule.route.matches);
            labels.extend(http.flat_map(|m| m.source_labels.keys().cloned()));
            labels.extend(rules.tls.iter().flat_map(|route| of_l4(&route.matches)));
            labels.extend(rules.tcp.iter().flat_map(|route| of_l4(&route.matches)));
        }
        labels
    }
}

/// The routes without matches that are not applied: each would take connections that it is not for.
fn in_force<R: Clone>(
    config: &Config<VirtualService>,
    routes: &[R],
    matches: fn(&mut R) -> &mut Vec<L4Match>,
    findings: &mut Findings,
) -> Vec<R> {
    let mut routes = routes.to_vec();
    routes.retain_mut(|route| {
        let matches = matches(route);
        let for_all = matches.is_empty();
        matches.retain(|of| {
            let applied = of.destination_subnets.is_empty() && of.source_subnet.is_none();
            if !applied {
                let object = format!("VirtualService {}/{}", config.meta.namespace, config.meta.name);
                let message = "destinationSubnets and sourceSubnet are not applied; a match that has one takes nothing";
                findings.add(Code::Unsupported, object, message);
            }
            applied
        });
        for_all || !matches.is_empty()
    });
    routes
}

impl Rules {
    fn new(
        config: &Config<VirtualService>,
        all: &[Arc<Config<VirtualService>>],
        mesh: &MeshConfig,
        findings: &mut Findings,
    ) -> Self {
        let (meta, spec) = (&config.meta, &config.spec);
        let hosts = spec.hosts.iter().filter_map(|host| Hostname::resolve(host, &meta.namespace, &mesh.domain).ok());
        let mut http = Vec::new();
        for route in &spec.http {
            match &route.action {
                HttpAction::Delegate(to) => http.extend(delegate::expand(config, route, to, all, findings)),
                _ => http.push(HttpRule { route: route.clone(), namespace: meta.namespace.clone() }),
            }
        }
        Self {
            meta: meta.clone(),
            hosts: hosts.collect(),
            gateways: spec.gateways.clone(),
            http,
            tls: in_force(config, &spec.tls, |route| &mut route.matches, findings),
            tcp: in_force(config, &spec.tcp, |route| &mut route.matches, findings),
            export_to: spec.export_to.clone(),
        }
    }

    /// The object, as diagnostics name it.
    pub fn object(&self) -> String {
        format!("VirtualService {}/{}", self.meta.namespace, self.meta.name)
    }

    /// Whether any rule is for `gateway` (or for `mesh`).
    pub fn is_bound_to(&self, gateway: &str) -> bool {
        let own = self.gateways.iter().any(|name| name == gateway);
        let http =
            self.http.iter().flat_map(|rule| &rule.route.matches).any(|m| m.gateways.iter().any(|g| g == gateway));
        let tls = self.tls.iter().flat_map(|route| &route.matches);
        let tcp = self.tcp.iter().flat_map(|route| &route.matches);
        own || http || tls.chain(tcp).any(|m| m.gateways.iter().any(|g| g == gateway))
    }

    /// Whether a match (or a rule without one) is for `gateway`: its own list, else the object's.
    pub fn applies_to(&self, of_match: &[String], gateway: &str) -> bool {
        let gateways = if of_match.is_empty() { &self.gateways } else { of_match };
        gateways.iter().any(|name| name == gateway)
    }

    /// How specific the host is by which this covers a name: longer is more, a wildcard is less than a name. Every host
    /// at once is for gateways only.
    pub fn covers(&self, host: &str) -> Option<(bool, usize)> {
        let covering = self.hosts.iter().filter(|own| own.as_str() != "*" && own.covers(host));
        covering.map(|own| (!own.is_wildcard(), own.as_str().len())).max()
    }
}
