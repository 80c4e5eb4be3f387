//! What telemetry costs the control plane: 500 services with 5,000 edges between them, told by 1,000 proxies. A real
//! control plane takes the reports over gRPC and mutual TLS, and answers over HTTP; its CPU is the scheduler's. An hour
//! of the same is told to the mixer alone, with a clock that is moved by hand: what it keeps, and what its views cost.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

#[path = "../../tests/api/control_plane.rs"]
#[allow(dead_code)]
mod control_plane;
#[path = "../../tests/e2e/fleet.rs"]
#[allow(dead_code)]
mod fleet;
mod hour;
mod live;
#[path = "../proxy/measure.rs"]
#[allow(dead_code)]
mod measure;

use fleet::Size;

/// In the dev profile a tenth: it shows that the bench works, and no more.
const SIZE: Size = if cfg!(debug_assertions) {
    Size { services: 50, copies: 2, calls: 10, namespaces: 5 }
} else {
    Size { services: 500, copies: 2, calls: 10, namespaces: 10 }
};

fn main() {
    println!("{} services, {} edges, {} proxies", SIZE.services, SIZE.edges(), SIZE.proxies());
    live::run(SIZE);
    hour::run(SIZE);
}
