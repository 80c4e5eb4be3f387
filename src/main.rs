//! weft: the command line and the roles of the one binary.

mod command;
mod memory;
mod sample;

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::memory::set_release(memory::release, memory::release_program);
    command::main()
}
