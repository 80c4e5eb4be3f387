//! The Bookinfo options, and which service they start.

use super::client::Client;
use super::{details, productpage, ratings, reviews, serve};
use anyhow::Context;
use axum::Router;
use clap::{Args, ValueEnum};
use hyper::Uri;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// `weft sample bookinfo SERVICE …`
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The service to run
    #[arg(value_enum)]
    pub service: Service,
    /// The version to play; reviews shows no stars in v1, black ones in v2, red ones in v3
    #[arg(long, value_enum, default_value = "v1")]
    pub version: Version,
    /// Where to listen; port 0 takes any free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9080")]
    pub listen: SocketAddr,
    /// Where the details service is
    #[arg(long, value_name = "URL", default_value = "http://details:9080")]
    pub details: Uri,
    /// Where the reviews service is
    #[arg(long, value_name = "URL", default_value = "http://reviews:9080")]
    pub reviews: Uri,
    /// Where the ratings service is
    #[arg(long, value_name = "URL", default_value = "http://ratings:9080")]
    pub ratings: Uri,
    /// The instance name to show, by default SERVICE-VERSION
    #[arg(long)]
    pub name: Option<String>,
    /// The cluster name to show
    #[arg(long, env = "CLUSTER_NAME", default_value = "weft")]
    pub cluster: String,
}

/// The services of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    Productpage,
    Details,
    Ratings,
    Reviews,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Ratings => "ratings",
            Self::Reviews => "reviews",
        }
    }
}

/// The versions a service may be run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    V1,
    V2,
    V3,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

/// Binds, says where, and serves until told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = serve::stop_signal()?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", options.listen))?;
    let address = listener.local_addr()?;
    println!("{} {} listens on http://{address}", options.service.name(), options.version.name());
    serve::serve(listener, router(&options, Client::from_environment()?), stop).await
}

/// The routes of the service that the options name.
pub fn router(options: &Options, client: Client) -> Router {
    match options.service {
        Service::Details => details::router(),
        Service::Ratings => ratings::router(),
        Service::Reviews => reviews::router(reviews::Settings {
            name: instance(options),
            cluster: options.cluster.clone(),
            stars: stars(options.version),
            ratings: options.ratings.clone(),
            client,
        }),
        Service::Productpage => productpage::router(productpage::Settings {
            details: options.details.clone(),
            reviews: options.reviews.clone(),
            ratings: options.ratings.clone(),
            timeout: productpage::TIMEOUT,
            client,
        }),
    }
}

fn instance(options: &Options) -> String {
    match &options.name {
        Some(name) => name.clone(),
        None => format!("{}-{}", options.service.name(), options.version.name()),
    }
}

fn stars(version: Version) -> Option<reviews::Stars> {
    match version {
        Version::V1 => None,
        Version::V2 => Some(reviews::Stars::BLACK),
        Version::V3 => Some(reviews::Stars::RED),
    }
}
