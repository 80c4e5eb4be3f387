//! Process plumbing that every role shares. Knows no other crate of ours.

mod clock;
pub mod files;

pub use clock::{Clock, ManualClock};
