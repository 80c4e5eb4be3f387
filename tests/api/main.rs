//! The REST API as programs meet it: a real control plane, real connections, and the document that describes it held
//! against what it answers.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod control_plane;
mod doctor;
mod document;
#[path = "../e2e/process.rs"]
mod process;
mod views;
mod writers;
