//! The options of the listener where hosts check in by themselves, for whoever has one.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::duration;
use super::failure::{Exit, Failure};

#[derive(Clone, Debug, Args)]
pub struct CheckInOptions {
    /// Where hosts check in by the registration API of lyft/discovery; other addresses than loopback need
    /// --registration-token-file, and --api-cert and --api-key of the control plane [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_registration: Option<SocketAddr>,
    /// How long a host stays registered after it checked in
    #[arg(long, default_value = "10m", value_parser = duration::parse)]
    pub registration_ttl: Duration,
    /// The token, in a file, that callers of the registration API send as `authorization: Bearer TOKEN`; on loopback
    /// nobody is asked for one unless it is given
    #[arg(long, value_name = "FILE")]
    pub registration_token_file: Option<PathBuf>,
}

impl CheckInOptions {
    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let Some(address) = self.listen_registration else { return Vec::new() };
        let ttl = format!("{}ms", self.registration_ttl.as_millis());
        let mut words: Vec<OsString> =
            ["--listen-registration".into(), address.to_string().into(), "--registration-ttl".into(), ttl.into()]
                .into();
        if let Some(file) = &self.registration_token_file {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            words.extend(["--registration-token-file".into(), file.into()]);
        }
        words
    }

    /// Refuses what a control plane without a certificate for its API cannot serve.
    pub fn on_loopback(&self) -> anyhow::Result<()> {
        match self.listen_registration.filter(|address| !address.ip().is_loopback()) {
            None => Ok(()),
            Some(address) => {
                let words = format!(
                    "--listen-registration {address} is no loopback address, which `weft up` does not serve; start \
                     `weft control-plane` with --api-cert, --api-key and --registration-token-file"
                );
                Err(Failure::new(Exit::Usage, words).into())
            }
        }
    }

    /// What callers have to send, where anything is asked for.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.registration_token_file else { return Ok(None) };
        let read = || format!("--registration-token-file {} cannot be read", file.display());
        let token = std::fs::read_to_string(file).with_context(read)?.trim().to_owned();
        let words = format!("--registration-token-file {} is empty; write a token into it", file.display());
        anyhow::ensure!(!token.is_empty(), Failure::new(Exit::Usage, words));
        Ok(Some(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: &str) -> CheckInOptions {
        CheckInOptions {
            listen_registration: Some(address.parse().unwrap()),
            registration_ttl: Duration::from_secs(60),
            registration_token_file: None,
        }
    }

    #[test]
    fn the_supervised_control_plane_is_given_the_same() {
        let given = options("127.0.0.1:8080");
        let words = ["--listen-registration", "127.0.0.1:8080", "--registration-ttl", "60000ms"];
        assert_eq!(given.words(), words.map(OsString::from));
        assert!(CheckInOptions { listen_registration: None, ..given }.words().is_empty());
    }

    #[test]
    fn a_mesh_of_one_machine_listens_on_loopback() {
        assert!(options("[::1]:8080").on_loopback().is_ok());
        let refused = options("0.0.0.0:8080").on_loopback().unwrap_err().to_string();
        assert!(refused.contains("--api-cert"), "{refused}");
    }
}
