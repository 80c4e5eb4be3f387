//! `weft completion`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output;

#[derive(Debug, Args)]
pub struct Options {
    /// The shell
    shell: Shell,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut super::Cli::command(), "weft", &mut script);
    output::write(&String::from_utf8(script)?)
}
