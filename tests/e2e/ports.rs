//! Ports for programs that take none that the system chooses, or that come back on the one they had.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the system gives to others by itself, also in the moments in which nobody listens.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Two processes that run at the same time begin so far apart.
const STEP: u32 = 16;

/// A port of this address that nobody has.
pub fn free(address: impl Into<IpAddr>) -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let address = address.into();
    let begin = std::process::id() % (COUNT / STEP) * STEP;
    for _ in 0..COUNT {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let place = SocketAddr::new(address, u16::try_from(port).unwrap());
        if TcpListener::bind(place).is_ok() {
            return place;
        }
    }
    panic!("no port of {address} is free");
}
