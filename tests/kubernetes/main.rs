//! Kubernetes as a platform: against `kube-apiserver` where `KUBEBUILDER_ASSETS` names a folder with it and etcd, else
//! against an API server of our own.

#![allow(clippy::unwrap_used)]

mod bookinfo;
mod cluster;
mod configuration;
#[path = "../../registry/tests/consul/server.rs"]
#[allow(dead_code)]
mod consul;
mod credentials;
mod end_to_end;
mod image;
#[path = "../e2e/load.rs"]
#[allow(dead_code)]
mod load;
mod loss;
mod manifests;
#[path = "../e2e/mesh.rs"]
#[allow(dead_code)]
mod mesh;
mod platforms;
#[path = "../e2e/process.rs"]
mod process;
mod relay;
mod server;
mod service_accounts;
mod services;
mod workload;
