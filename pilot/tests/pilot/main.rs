//! The compile by golden files, and the discovery service with real gRPC clients.

mod delta;
mod mesh;
mod proxy;
mod sharing;
mod sotw;
