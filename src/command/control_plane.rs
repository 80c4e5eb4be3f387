//! `weft control-plane`: the wiring page. Builds everything in order, and binds every socket before it serves.

mod access;
mod bundle;
mod claims;
mod decisions;
mod evidence;
mod exports;
mod gateway_keys;
mod join;
mod membership;
mod registration;
mod telemetry;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use citadel::{
    ApiTokens, Authority as _, Capacity, CurrentCertificate, Decisions, Denials, Ledger, Members, Rooms, Rotation,
    Sessions, Signing, Tokens, server_tls,
};
use clap::Args;
use galley::{Galley, GalleyOptions};
use mixer::{Keeper, Mixer, TelemetryService};
use pilot::{Discovery, Inputs, MeshConfig};
use registry::kubernetes::KeyReaders;
use registry::{Agents, AgentsOptions, Catalog, Credentials, Registry};
use runtime::shutdown::{self, Shutdown};
use runtime::{Clock, files};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;

use super::authority::AuthorityOptions;
use super::check_in::CheckInOptions;
use super::data_dir::{Address, DataDir};
use super::descriptors;
use super::duration;
use super::key_sources::KeySources;
use super::platforms::Platforms;
use super::store::StoreOptions;
use ::api::TrustDomain;
use ::api::weft::v1::membership_server::MembershipServer;
use access::ApiAccess;
use bundle::{BundleOptions, Endpoint, Jwt};
use evidence::EvidenceOptions;
use registration::Registration;

#[derive(Debug, Args)]
pub struct Options {
    /// A directory of YAML to serve and watch; may be repeated [default: config/ in the data directory]
    #[arg(long, value_name = "DIR")]
    config: Vec<PathBuf>,
    /// Where proxies connect and get certificates
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15012")]
    listen_xds: SocketAddr,
    /// Where the REST API and the console are; other addresses than loopback need --api-cert and --api-key
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15080")]
    listen_api: SocketAddr,
    /// How many requests a second each caller of the REST API may make, and five times as many at once
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    api_rate: u32,
    /// Where the control plane's own metrics are, at /metrics; loopback only, no token asked
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15014")]
    listen_metrics: SocketAddr,
    #[command(flatten)]
    check_in: CheckInOptions,
    /// The trust domain of the mesh
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
    /// The lifetime of workload certificates: 5m to 24h; from 5s on for trials
    #[arg(long, default_value = "1h", value_parser = duration::certificate_lifetime)]
    cert_ttl: Duration,
    #[command(flatten)]
    authority: AuthorityOptions,
    #[command(flatten)]
    evidence: EvidenceOptions,
    /// Where proxies write their access log, or "off"
    #[arg(long, value_name = "PATH|off", default_value = "/dev/stdout")]
    access_log: String,
    /// The share of requests that are traced, in percent; 0 traces those only whose caller does
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    trace_sampling: f64,
    /// How long a workload that lost its connection stays registered; it takes no traffic after ten seconds
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    registration_grace: Duration,
    #[command(flatten)]
    key_sources: KeySources,
    #[command(flatten)]
    api_access: ApiAccess,
    #[command(flatten)]
    bundle: BundleOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    platforms: Platforms,
}

/// How long requests in flight may take when the control plane stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Certificates that live for less leave no time to mend what holds a renewal up.
const SHORT: Duration = Duration::from_secs(5 * 60);

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let trust_domain = TrustDomain::new(&options.trust_domain)?;
    let aliases = options.authority.aliases(&trust_domain)?;
    let shutdown = shutdown::on_signals(DRAIN)?;
    data.make(data.path())?;
    let store = options.store.open(&data).await?;
    let clock = Clock::system();

    let api_tls = options.api_access.tls()?;
    let api_listener = match &api_tls {
        Some(_) => web::bind_any(options.listen_api).await.map_err(|error| not_bound(error, "", "--listen-api"))?,
        None => web::bind(options.listen_api)
            .await
            .map_err(|error| not_bound(error, "--api-cert and --api-key, or another --listen-api", "--listen-api"))?,
    };
    let metrics_listener = web::bind(options.listen_metrics)
        .await
        .map_err(|error| not_bound(error, "another --listen-metrics", "--listen-metrics"))?;
    let xds_listener = TcpListener::bind(options.listen_xds)
        .await
        .with_context(|| format!("{} cannot be bound; give --listen-xds", options.listen_xds))?;
    let xds_address = xds_listener.local_addr()?;

    let own = trust_domain.workload("istio-system", "control-plane")?;
    let authority = options.authority.open(&data, &trust_domain, store.clone(), clock.clone()).await?;
    let (decisions, decided) = Decisions::channel();
    if options.cert_ttl < SHORT {
        let ttl = options.cert_ttl;
        tracing::warn!(?ttl, "certificates of less than {SHORT:?} are for trials: who cannot renew in time is cut off");
    }
    let authority = Arc::new(authority.with_ttl(options.cert_ttl).telling(decisions.clone()));
    let (rotation, ending) = (Rotation::new(authority.clone(), store.is_shared()), authority.clone());
    tokio::spawn(rotation.clone().follow());
    let bundle = authority.trust_bundle();
    let grace = options.evidence.rejoin_grace;
    let denials = Denials::open(store.clone(), clock.clone(), own.clone(), &aliases, grace).await?;
    tokio::spawn(denials.clone().run());
    let tls = server_tls(authority.clone(), own.clone(), clock.clone()).await?.cutting(denials.watch());
    let join_tokens = Tokens::new(store.clone(), bundle.clone(), clock.clone());
    let api_tokens = ApiTokens::new(store.clone(), clock.clone());
    let members = Members::new(store.clone(), clock.clone());
    let jwt = Jwt::open(&options.bundle, &data, &authority, &own, store.clone(), clock.clone()).await?;
    let endpoint = Endpoint::bind(&options.bundle, &tls).await?;
    let current = CurrentCertificate::new(bundle.clone(), clock.clone());
    let tokens = jwt.service(current, members.clone(), &denials, own.clone(), decisions.clone());
    let trust_domains = [vec![trust_domain.clone()], aliases.clone()].concat().into();
    let mesh = mesh_config(trust_domain.clone(), aliases, &options);
    let registration =
        Registration::open(&options.check_in, api_tls.clone(), store.clone(), &mesh, clock.clone()).await?;
    let listeners = [
        Some(&xds_listener),
        Some(&api_listener),
        Some(&metrics_listener),
        endpoint.as_ref().map(Endpoint::listener),
        registration.as_ref().map(Registration::listener),
    ];
    let own_sockets: Vec<SocketAddr> =
        listeners.into_iter().flatten().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let mesh = Arc::new(MeshConfig { keys_from: options.key_sources.reach(&own_sockets), ..mesh });
    let domain = mesh.domain.clone();
    let galley = open_galley(&options, &data, store.clone(), &mesh).await?;
    let agents = Agents::open(store.clone(), agents_options(&options, &mesh, data.replica()?)).await?;
    let mut registries: Vec<Arc<dyn Registry>> = vec![galley.registry(), Arc::new(agents.clone())];
    let platforms = options.platforms.open(&mesh.domain).await?;
    registries.extend(platforms.remembered(&store));
    let attestors = options.evidence.attestors(&trust_domain, &join_tokens, &bundle, &clock, platforms.reviews())?;
    let signing = Signing::new(authority, attestors, members.clone(), own).refusing(denials.watch()).telling(decisions);
    let issuances = signing.issuances();
    let signing = signing.into_service();
    registries.extend(registration.as_ref().map(Registration::registry));
    let (publish, catalog) = watch::channel(Arc::new(Catalog::default()));
    platforms.attach(&galley, &catalog);
    let (steering, orders) = registry::Steering::channel();
    tokio::spawn(registry::run_steered(registries, options.platforms.policy(), orders, publish));
    let (inputs, followed) = watch::channel(Inputs {
        catalog: catalog.borrow().clone(),
        config: galley.snapshots().borrow().clone(),
        mesh,
        credentials: Arc::default(),
        ready: false,
    });
    tokio::spawn(follow(catalog.clone(), galley.clone(), platforms.credentials(), inputs));
    let joined = join::Joined {
        agents: agents.clone(),
        members: members.clone(),
        galley: galley.clone(),
        catalog: catalog.clone(),
        domain,
        keys: platforms.cluster().map(KeyReaders::of),
    };
    let discovery = Discovery::new(followed.clone(), pilot::Options::default(), Arc::new(joined.clone()));
    let mixer = Mixer::new(catalog.clone(), clock.clone(), mixer::Options::default());
    tokio::spawn(mixer.clone().run());
    tokio::spawn(exports::follow(galley.clone(), mixer.clone()));
    let keeper = Keeper::open(store.clone(), mixer.clone(), &data.replica()?).await?;
    let kept = tokio::spawn(keeper.run(shutdown.clone()));
    let telemetry = TelemetryService::server(mixer.clone(), Arc::new(joined.clone()));
    let membership = MembershipServer::new(membership::Memberships(joined));

    let authenticate = join::Authenticate { denied: denials.watch(), rates: citadel::Rates::default(), trust_domains };
    let rooms = Rooms::new(Capacity::within(descriptors::raise()));
    let xds = citadel::server()
        .add_service(InterceptedService::new(discovery.server(), authenticate.clone()))
        .add_service(InterceptedService::new(membership, authenticate.clone()))
        .add_service(InterceptedService::new(telemetry, authenticate.clone()))
        .add_service(InterceptedService::new(citadel::Trust::server(rotation.clone(), denials.watch()), authenticate))
        .add_service(signing)
        .add_service(tokens)
        .serve_with_incoming(citadel::incoming(xds_listener, tls, rooms.clone()));
    let address = address(&api_listener, api_tls.as_ref(), xds_address, &metrics_listener)?;
    let sessions = Sessions::new(store.clone(), api_tokens.clone(), clock.clone());
    let door = options.api_access.door(&data, sessions.clone())?;
    let state = web::State {
        galley,
        catalog: catalog.clone(),
        discovery,
        inputs: followed,
        join_tokens,
        members,
        agents,
        steering,
        api_tokens,
        mixer,
        door,
        trust_domain,
        bundle,
        spiffe_bundle: jwt.bundle.clone(),
        rotation,
        denials,
        ledger: Ledger::new(store.clone(), clock.clone()),
        issuances,
        rooms,
        store: store.clone(),
        kept: web::Kept::new(web::Rate::of(options.api_rate)),
    };
    access::keep_admin_token(&data, &state.api_tokens, &clock).await?;
    options.api_access.show_setup_link(&data, &sessions, &address.api).await?;
    let audit = state.door.audit.clone();
    tokio::spawn(access::audit_joins(store, audit.clone()));
    // Identities are issued until the last request is answered.
    let (unserved, end) = shutdown::channel();
    let decided = tokio::spawn(decisions::keep(decided, audit, clock.clone(), end));
    let (join, api) = (state.join_tokens.clone(), state.api_tokens.clone());
    tokio::spawn(access::housekeeping(data.clone(), join, api, sessions, clock));
    let api = web::serve(api_listener, api_tls, state.clone(), shutdown.clone());
    let metrics = web::serve_metrics(metrics_listener, state.clone(), shutdown.clone());
    tokio::spawn(announce(catalog, data, address));
    let registration = Registration::serve(registration, shutdown.clone());
    let bundle = jwt.serve(endpoint, shutdown.clone());
    let served = serve(xds, api, metrics, registration, bundle, shutdown).await;
    unserved.drain();
    // The store may be away; then the others see for themselves that this one is gone.
    let _ = tokio::time::timeout(DRAIN, ending.leave()).await;
    decided.await.context("the last decisions on identities are not written down")?;
    served?;
    // The last figures are written when the end begins.
    kept.await.context("the traffic of the last minute is not kept")
}

/// Streams to proxies never end by themselves; they are cut, and proxies reconnect elsewhere or later.
async fn serve(
    xds: impl Future<Output = Result<(), tonic::transport::Error>>,
    api: impl Future<Output = std::io::Result<()>>,
    metrics: impl Future<Output = std::io::Result<()>>,
    registration: impl Future<Output = std::io::Result<()>>,
    bundle: impl Future<Output = std::io::Result<()>>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let rest = async { tokio::try_join!(api, metrics, registration, bundle) };
    tokio::pin!(rest);
    tokio::select! {
        ended = xds => ended.context("the xDS port failed")?,
        ended = &mut rest => return ended.map(drop).context("the API port failed"),
        () = shutdown.draining() => tracing::info!("stopping"),
    }
    tokio::select! {
        _ = rest => {}
        () = shutdown.ended() => {}
    }
    Ok(())
}

/// What to do about an address that cannot be had: `safe` where it is not of this machine alone, and else another one.
fn not_bound(error: web::ListenError, safe: &str, option: &str) -> anyhow::Error {
    let advice = match &error {
        web::ListenError::NotLoopback(_) => format!("give {safe}"),
        web::ListenError::Bind { .. } => format!("give another {option}, or end what has it"),
    };
    anyhow::Error::from(error).context(advice)
}

/// For clap.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a percentage is from 0 to 100".to_owned())
}

fn mesh_config(trust_domain: TrustDomain, trust_domain_aliases: Vec<TrustDomain>, options: &Options) -> MeshConfig {
    let access_log = (options.access_log != "off").then(|| options.access_log.clone());
    let trace_sampling = Some(options.trace_sampling);
    MeshConfig { access_log, trace_sampling, trust_domain_aliases, ..MeshConfig::new(trust_domain) }
}

async fn open_galley(
    options: &Options,
    data: &DataDir,
    store: Arc<dyn Store>,
    mesh: &MeshConfig,
) -> anyhow::Result<Galley> {
    for directory in options.config.iter().filter(|directory| !directory.is_dir()) {
        tracing::warn!("--config {} is no directory; its files are served once it is there", directory.display());
    }
    let directories = if options.config.is_empty() { vec![data.config()] } else { options.config.clone() };
    let galley = Galley::open(GalleyOptions { store, directories, domain: mesh.domain.clone() }).await?;
    let running = galley.clone();
    tokio::spawn(async move { running.run().await });
    Ok(galley)
}

fn agents_options(options: &Options, mesh: &MeshConfig, replica: String) -> AgentsOptions {
    let grace = options.registration_grace;
    AgentsOptions {
        domain: mesh.domain.clone(),
        disconnect_grace: grace,
        restart_grace: grace * 2,
        replica,
        ..AgentsOptions::default()
    }
}

/// Publishes services, configuration and the certificates of gateways to the compile, ready once every registry and every source of configuration has
/// told all it knows.
async fn follow(
    mut catalog: watch::Receiver<Arc<Catalog>>,
    galley: Galley,
    mut credentials: watch::Receiver<Arc<Credentials>>,
    inputs: watch::Sender<Inputs>,
) {
    let mut snapshots = galley.snapshots();
    loop {
        let (now, config) = (catalog.borrow_and_update().clone(), snapshots.borrow_and_update().clone());
        inputs.send_modify(|inputs| {
            inputs.ready |= is_synced(&now) && galley.is_synced();
            (inputs.catalog, inputs.config) = (now, config);
            inputs.credentials = credentials.borrow_and_update().clone();
        });
        let changed = tokio::select! {
            changed = catalog.changed() => changed,
            changed = snapshots.changed() => changed,
            Ok(()) = credentials.changed() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The catalog of the very beginning knows of no registry yet.
fn is_synced(catalog: &Catalog) -> bool {
    !catalog.registries.is_empty() && catalog.synced()
}

/// Tells the other verbs where this control plane is, once it can serve.
async fn announce(mut catalog: watch::Receiver<Arc<Catalog>>, data: DataDir, address: Address) {
    if catalog.wait_for(|catalog| is_synced(catalog)).await.is_err() {
        return;
    }
    let text = serde_json::to_vec_pretty(&address).unwrap_or_default();
    match files::write_atomic(&data.address_file(), &text, files::PRIVATE) {
        Ok(()) => tracing::info!(api = address.api, xds = address.xds, "the control plane is ready"),
        Err(error) => tracing::error!(%error, "address.json cannot be written; other verbs will not find this mesh"),
    }
}

/// Where this machine itself reaches a socket that is bound to all its addresses.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let local: IpAddr = match bound.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(local, bound.port())
}

fn address(
    api: &TcpListener,
    tls: Option<&web::ApiTls>,
    xds: SocketAddr,
    metrics: &TcpListener,
) -> anyhow::Result<Address> {
    Ok(Address {
        api: format!("{}://{}", if tls.is_some() { "https" } else { "http" }, reachable(api.local_addr()?)),
        api_pin: tls.map(web::ApiTls::pin),
        xds: format!("https://{}", reachable(xds)),
        metrics: format!("http://{}/metrics", metrics.local_addr()?),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}
