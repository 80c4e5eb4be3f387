//! What the documents tell people to type: each command is run on a real mesh, and each that cannot be is named here
//! with the reason. A new example runs by itself, or fails.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod api;
mod commands;
mod markdown;
#[path = "../e2e/mesh.rs"]
#[allow(dead_code)]
mod mesh;
mod shape;
