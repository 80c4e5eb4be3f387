//! The data plane and the agent beside it: takes xDS, carries traffic. Knows no control-plane crate.

pub mod access_log;
mod admin;
mod alarm;
mod bootstrap;
pub mod config;
mod connection_limit;
mod control_plane;
mod data_plane;
mod downstream;
pub mod drain;
pub mod filter;
mod forward;
#[doc(hidden)]
pub mod fuzz;
mod health_check;
pub mod http;
pub mod identity;
pub mod io;
mod jwt;
mod listener;
pub mod load_balancer;
mod network_filter;
mod path;
pub mod proxy_protocol;
mod query;
mod rbac;
pub mod route;
mod run;
mod run_static;
mod series;
mod settings;
pub mod stats;
mod tcp;
mod tcp_proxy;
mod tls;
mod token_bucket;
mod trace;
mod upstream;
mod worker;
pub mod xds;

pub use bootstrap::{BootstrapError, Format, parse_bootstrap, read_bootstrap};
pub use run::{ProxyError, run};
pub use run_static::run_static;
pub use settings::{Role, Served, Settings};
