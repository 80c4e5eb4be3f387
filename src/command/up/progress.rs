//! Tells what is being waited for: a spinner on a terminal, a line each elsewhere.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::ProgressBar;

pub struct Progress {
    spinner: ProgressBar,
    last: RefCell<String>,
}

impl Progress {
    pub fn new() -> Self {
        let spinner = ProgressBar::new_spinner();
        if !spinner.is_hidden() {
            spinner.enable_steady_tick(Duration::from_millis(100));
        }
        Self { spinner, last: RefCell::default() }
    }

    pub fn say(&self, message: &str) {
        if *self.last.borrow() == message {
            return;
        }
        message.clone_into(&mut self.last.borrow_mut());
        match self.spinner.is_hidden() {
            true => eprintln!("{message}"),
            false => self.spinner.set_message(message.to_owned()),
        }
    }

    /// A line that stays.
    pub fn note(&self, message: &str) {
        self.spinner.suspend(|| eprintln!("{message}"));
    }

    pub fn done(&self) {
        self.spinner.finish_and_clear();
    }
}
