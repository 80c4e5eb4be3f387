//! weft: the command line and the roles of the one binary.

mod allocator;
mod command;
mod sample;

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::memory::set_release(allocator::release);
    command::main()
}
