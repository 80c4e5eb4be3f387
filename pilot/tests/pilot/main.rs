//! The compile by golden files, and the discovery service with real gRPC clients.

#![allow(clippy::unwrap_used)]

mod delta;
mod golden;
mod mesh;
mod proxy;
mod sharing;
mod sotw;
