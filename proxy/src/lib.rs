//! The data plane and the agent beside it: takes xDS, carries traffic. Knows no control-plane crate.

pub mod access_log;
mod admin;
pub mod config;
mod control_plane;
mod data_plane;
mod downstream;
pub mod drain;
mod forward;
pub mod http;
pub mod identity;
pub mod io;
mod listener;
pub mod load_balancer;
mod path;
pub mod route;
mod run;
mod series;
mod settings;
pub mod stats;
mod tcp;
mod tcp_proxy;
mod tls;
mod upstream;
mod worker;
pub mod xds;

pub use run::{ProxyError, run};
pub use settings::{Role, Served, Settings};
