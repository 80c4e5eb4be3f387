//! `weft completion`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct Options {
    /// The shell
    shell: Shell,
}

pub fn run(options: Options) {
    clap_complete::generate(options.shell, &mut super::Cli::command(), "weft", &mut std::io::stdout());
}
