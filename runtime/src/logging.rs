//! Where a process's own log goes: standard error, so that standard output stays for results.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Starts logging. The filter is `WEFT_LOG`, else `RUST_LOG`, else `default` (`info`, `warn,pilot=debug`). A second
/// call in one process changes nothing.
pub fn init(default: &str, format: Format) {
    let named = ["WEFT_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    let text = named.unwrap_or_else(|| default.to_owned());
    let (text, filter) = match EnvFilter::try_new(&text) {
        Ok(filter) => (text, filter),
        Err(_) => (default.to_owned(), EnvFilter::new(default)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error says that logging has been started already.
    let (started, change): (_, Change) = match format {
        Format::Text => {
            let builder = builder.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init().is_ok(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        Format::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init().is_ok(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    if started {
        let _ = LOG.set(Log { change, filter: Mutex::new(text) });
    }
}

type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

struct Log {
    change: Change,
    filter: Mutex<String>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// The filter in force, in the words of `init`; empty before that.
pub fn filter() -> String {
    LOG.get().map(|log| log.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
}

/// Puts another filter in force; false if it is none, or logging was not started here.
pub fn set_filter(text: &str) -> bool {
    let (Some(log), Ok(filter)) = (LOG.get(), EnvFilter::try_new(text)) else { return false };
    let changed = (log.change)(filter);
    if changed {
        text.clone_into(&mut log.filter.lock().unwrap_or_else(PoisonError::into_inner));
    }
    changed
}
