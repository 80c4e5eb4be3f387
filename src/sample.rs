//! `weft sample`: the Bookinfo services and a traffic generator, to try the mesh with something that talks.

mod bookinfo;
mod client;
mod details;
mod forward;
mod productpage;
mod ratings;
mod reviews;
mod serve;
#[cfg(test)]
mod tests;
mod traffic;

use clap::Subcommand;

/// The verbs below `weft sample`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one of the four Bookinfo services
    #[command(after_help = "Example: weft sample bookinfo reviews --version v2 --listen 127.0.0.1:9080")]
    Bookinfo(bookinfo::Options),
    /// Send a steady stream of GET requests; silent while they are answered with success
    #[command(after_help = "Example: weft sample traffic --url http://127.0.0.1:8080/productpage --rate 5")]
    Traffic(traffic::Options),
}

/// Runs a sample until SIGTERM or ctrl-C, then finishes what is in flight.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Bookinfo(options) => bookinfo::run(options).await,
        Command::Traffic(options) => traffic::run(options, serve::stop_signal()?).await,
    }
}
