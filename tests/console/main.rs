//! The console in a real browser, on a real mesh: what people see and do there. Each test runs one script of
//! `web/console/e2e` with Node; the first run of `scripts/build-console` installs what they need.

#![allow(clippy::unwrap_used)]

mod budget;
#[path = "../api/control_plane.rs"]
#[allow(dead_code)]
mod control_plane;
mod crowd;
mod embedded;
#[path = "../e2e/fleet.rs"]
#[allow(dead_code)]
mod fleet;
#[path = "../e2e/mesh.rs"]
#[allow(dead_code)]
mod mesh;
mod scripts;
