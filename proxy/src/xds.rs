//! The client of the control plane: subscribes by incremental ADS, converts what comes, acknowledges or refuses it,
//! and publishes a snapshot whenever all that the listeners and clusters refer to is there.

mod client;
mod disk;
mod resources;

pub use client::{Applied, Apply, Client, Options};
pub use disk::Copy;
pub use resources::{Kind, Resources};
