//! Kubernetes as a platform: against `kube-apiserver` where `KUBEBUILDER_ASSETS` names a folder with it and etcd, else
//! against an API server of our own.

#![allow(clippy::unwrap_used)]

mod cluster;
mod configuration;
mod end_to_end;
mod manifests;
mod relay;
mod server;
mod services;
