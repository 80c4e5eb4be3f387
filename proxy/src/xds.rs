//! Everything the proxy is given to serve, wherever it comes from: subscribes by ADS, incremental or with the state of
//! the world, and reads files; converts what comes, acknowledges or refuses it, and publishes a snapshot whenever what
//! the listeners and clusters refer to is there.

mod client;
mod disk;
mod files;
mod resources;
mod session;
mod stream;

pub use client::{Applied, Apply, Client, Handle, Hold, Options};
pub use disk::Copy;
pub use resources::{Held, Key, OWN_SECRETS, Origin, Refused, Resources};
pub use stream::Server;
