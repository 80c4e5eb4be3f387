//! How a verb fails: words on standard error, and an exit code that scripts can tell apart.

use std::fmt;
use std::process::ExitCode;

use super::output::tell;

/// The documented exit codes besides 0, 1 and clap's 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Usage = 2,
    NotFound = 3,
    Rejected = 4,
    Unreachable = 5,
}

/// A failure with an exit code of its own; any other error exits with 1.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Tells the operator, and says with what code to exit.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let failure = error.downcast_ref::<Failure>();
    match failure.map(|failure| failure.exit) {
        // Findings begin with file:line:column, which editors jump to.
        Some(Exit::Rejected) => tell(format_args!("{error:#}")),
        _ => tell(format_args!("weft: {error:#}")),
    }
    ExitCode::from(failure.map_or(1, |failure| failure.exit as u8))
}
