//! What a mesh on one machine consists of: which processes, on which addresses. Pure but for the state's file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};

use runtime::files;
use serde::{Deserialize, Serialize};

use super::Options;
use super::network::{host, usual_or_own};
use crate::command::data_dir::DataDir;
use crate::command::sidecar::{ADMIN, HTTP_PROXY, READINESS};

pub const GATEWAY: &str = "gateway";
pub const CONTROL_PLANE: &str = "control-plane";
pub const TRAFFIC: &str = "traffic";
const GATEWAY_PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;
const SERVICE_PORT: u16 = 9080;

/// The mesh as it stands: kept in `run/up.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The supervisor's.
    pub pid: u32,
    pub network: u8,
    pub gateway: SocketAddr,
    pub api: SocketAddr,
    pub xds: SocketAddr,
    pub metrics: SocketAddr,
    pub workloads: Vec<Workload>,
    /// The processes that run now, by name.
    pub pids: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workload {
    pub name: String,
    pub service: String,
    pub namespace: String,
    pub version: String,
    /// The service's port on the workload's own address.
    pub address: SocketAddr,
}

/// A child of the supervisor.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub arguments: Vec<OsString>,
}

const SAMPLE: [(&str, &str); 6] = [
    ("productpage", "v1"),
    ("details", "v1"),
    ("ratings", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
];

impl State {
    /// Chooses addresses: the well-known ones where they are free.
    pub fn plan(network: u8, sample: bool) -> Self {
        let on = |address: Ipv4Addr, port: u16| SocketAddr::from((address, port));
        let usual = |port| on(usual_or_own(network, &[port]), port);
        let gateway = usual_or_own(network, &[GATEWAY_PORT, TLS_PORT, ADMIN, READINESS]);
        let workloads = (11..).zip(SAMPLE).map(|(number, (service, version))| Workload {
            name: format!("{service}-{version}"),
            service: service.into(),
            namespace: "default".into(),
            version: version.into(),
            address: on(host(network, number), SERVICE_PORT),
        });
        Self {
            pid: std::process::id(),
            network,
            gateway: on(gateway, GATEWAY_PORT),
            api: usual(15080),
            xds: usual(15012),
            metrics: usual(15014),
            workloads: if sample { workloads.collect() } else { Vec::new() },
            pids: BTreeMap::new(),
        }
    }

    pub fn read(data: &DataDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data.run("up.json")).ok()?).ok()
    }

    pub fn write(&self, data: &DataDir) -> anyhow::Result<()> {
        Ok(files::write_atomic(&data.run("up.json"), &serde_json::to_vec_pretty(self)?, files::PRIVATE)?)
    }

    /// Whether every process runs that should.
    pub fn is_whole(&self) -> bool {
        let workloads = self.workloads.iter().map(|workload| workload.name.as_str());
        workloads.chain([CONTROL_PLANE, GATEWAY]).all(|name| self.pids.contains_key(name))
    }

    pub fn control_plane(&self, options: &Options, data: &DataDir) -> Process {
        let mut words = Words::verb(data, &["control-plane", "--no-setup-link"]);
        words.flag("--listen-xds", self.xds).flag("--listen-api", self.api).flag("--listen-metrics", self.metrics);
        // One machine, to look at: every request may be looked up.
        words.flag("--trace-sampling", 100);
        for directory in &options.config {
            words.0.extend(["--config".into(), directory.into()]);
        }
        if let Some(ttl) = options.cert_ttl {
            words.flag("--cert-ttl", format!("{}ms", ttl.as_millis()));
        }
        words.0.extend(options.authority.words());
        words.0.extend(options.store.words());
        words.0.extend(options.platforms.words());
        words.0.extend(options.check_in.words());
        words.0.extend(options.key_sources.words());
        words.process(CONTROL_PLANE)
    }

    pub fn gateway(&self, data: &DataDir) -> Process {
        let mut words = Words::verb(data, &["proxy", "--role", "gateway"]);
        words
            .flag("--name", GATEWAY)
            .flag("--namespace", "istio-system")
            .flag("--service-account", "istio-ingressgateway");
        words.flag("--label", "istio=ingressgateway").flag("--label", "app=istio-ingressgateway");
        words.flag("--address", self.gateway.ip()).flag("--control-plane", format!("https://{}", self.xds));
        words.flag("--port-map", "80:8080").flag("--port-map", "443:8443");
        words.process(GATEWAY)
    }

    /// A sample service, wrapped into `weft run` like any program.
    pub fn workload(&self, workload: &Workload, program: &OsString, data: &DataDir) -> Process {
        let application = workload.program();
        let mut words = Words::verb(data, &["run"]);
        words.flag("--service", &workload.service).flag("--port", workload.address.port());
        words.flag("--name", &workload.name).flag("--version", &workload.version);
        words.flag("--namespace", &workload.namespace);
        words.flag("--service-account", format!("bookinfo-{}", workload.service));
        words.flag("--address", workload.address.ip()).flag("--forward-to", application);
        words.flag("--control-plane", format!("https://{}", self.xds));
        words.0.extend(["--".into(), program.clone()]);
        words.0.extend(["sample", "bookinfo", &workload.service].map(OsString::from));
        words.flag("--version", &workload.version).flag("--listen", application);
        words.process(&workload.name)
    }

    pub fn traffic(&self, data: &DataDir) -> Process {
        let mut words = Words::verb(data, &["sample", "traffic"]);
        words.flag("--url", format!("http://{}/productpage", self.gateway)).flag("--rate", 5);
        words.process(TRAFFIC)
    }
}

/// Where a proxy answers whether it is ready.
pub fn readiness(address: SocketAddr) -> String {
    format!("http://{}/healthz/ready", SocketAddr::new(address.ip(), READINESS))
}

impl Workload {
    /// Where its program listens, behind its sidecar.
    pub fn program(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 10_000)
    }

    pub fn url(&self, port: Port) -> String {
        let (port, path) = match port {
            Port::HttpProxy => (HTTP_PROXY, ""),
            Port::Admin => (ADMIN, ""),
            Port::Metrics => (ADMIN, "/stats/prometheus"),
        };
        format!("http://{}{path}", SocketAddr::new(self.address.ip(), port))
    }
}

/// The ports of a workload besides its service's.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    HttpProxy,
    Admin,
    Metrics,
}

/// A command line in the making.
struct Words(Vec<OsString>);

impl Words {
    fn verb(data: &DataDir, words: &[&str]) -> Self {
        let mut all: Vec<OsString> = vec!["--data-dir".into(), data.path().into()];
        all.extend(words.iter().map(OsString::from));
        Self(all)
    }

    fn flag(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.0.extend([name.into(), value.to_string().into()]);
        self
    }

    fn process(self, name: &str) -> Process {
        Process { name: name.into(), arguments: self.0 }
    }
}
