//! The data plane and the agent beside it: takes xDS, carries traffic. Knows no control-plane crate.

pub mod access_log;
pub mod config;
pub mod drain;
pub mod http;
pub mod identity;
pub mod io;
pub mod route;
pub mod tcp;
