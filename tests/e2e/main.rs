//! The whole mesh as a user runs it: the real binary, real processes, real connections.

#![allow(clippy::unwrap_used)]

mod access;
mod anyone;
mod attested;
mod authorities;
mod authorization;
mod bookinfo;
mod bulletins;
mod check_in;
mod collector;
mod configuration;
#[path = "../../registry/tests/consul/server.rs"]
#[allow(dead_code)]
mod consul;
mod control_plane;
mod denied;
mod elsewhere;
#[path = "../../store/src/etcd/server.rs"]
#[allow(dead_code)]
mod etcd;
mod identity;
mod load;
mod mesh;
mod node_proxy;
mod outage;
mod platforms;
mod ports;
mod process;
mod programs;
mod prometheus;
mod replicas;
mod rotation;
mod secrets;
mod strangers;
mod svids;
mod telemetry;
mod tokens;
mod traffic;
mod users;
mod vm;
mod workload_api;
