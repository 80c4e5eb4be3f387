//! Process plumbing that every role shares. Knows no other crate of ours.

mod backoff;
mod clock;
pub mod files;
pub mod logging;
pub mod memory;
mod reach;
pub mod shutdown;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock};
pub use reach::{Reach, tells_secrets};
