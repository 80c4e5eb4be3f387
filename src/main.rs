//! weft: the command line and the roles of the one binary.

mod sample;

fn main() {}
