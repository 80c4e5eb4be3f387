//! Asks an HTTP/2 peer now and then whether it is still there (Envoy `connection_keepalive`).

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use crate::config::PingSettings;

/// Returns once the peer has not answered in time, or the connection has ended; never where nobody is asked.
pub async fn lost(pings: Option<PingPong>, keepalive: Option<PingSettings>) {
    let (Some(mut pings), Some(PingSettings { interval, jitter, timeout: patience })) = (pings, keepalive) else {
        return std::future::pending().await;
    };
    loop {
        let more = interval.mul_f64(f64::from(rand::random_range(0..=jitter)) / 1e6);
        sleep(interval + more).await;
        if !matches!(timeout(patience, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
