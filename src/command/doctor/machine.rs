//! This machine: its ports, whether its connections are captured as they should be, whether names are answered. Only what
//! a joined machine should have is asked for; a machine that has not joined must have the ports free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use proxy::dns::Listen;
use tokio::net::TcpStream;
use web::catalogue;

use super::{Visit, dns};
use crate::command::capture;
use crate::command::dns::of_words;
use crate::command::join::state::{Joining, State};

const DEADLINE: Duration = Duration::from_secs(2);

pub async fn look(visit: &mut Visit, state_dir: &Path) {
    match State::at(state_dir).and_then(|state| state.read()) {
        Ok(Some(joining)) => joined(visit, state_dir, &joining).await,
        Ok(None) => {
            ports(visit);
            visit.well("capture: this machine did not join, and captures nothing");
            visit.well("DNS: this machine did not join, and asks no agent for names");
        }
        // What belongs to root is not for everybody to read.
        Err(error) => visit.well(format!("what this machine joined with was not looked at ({error:#})")),
    }
}

/// The ports that an agent would take.
fn ports(visit: &mut Visit) {
    let ports = [capture::OUTBOUND_PORT, capture::INBOUND_PORT, capture::DNS_PORT];
    let taken: Vec<u16> = ports.into_iter().filter(|port| is_taken(*port)).collect();
    if taken.is_empty() {
        visit.well("the ports of an agent are free");
    }
    for port in taken {
        let message = "another program has it; an agent that captures connections could not start";
        visit.found(&catalogue::PORT_TAKEN, &format!("port {port}"), message);
    }
}

fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

async fn joined(visit: &mut Visit, state_dir: &Path, joining: &Joining) {
    match joining.capture.is_some() {
        true => captured(visit, state_dir).await,
        false => visit.well("capture: this machine joined without it"),
    }
    match of_words(joining.listen_dns.as_deref()) {
        Ok(Listen::At(listen)) => names(visit, listen).await,
        Ok(Listen::Usual) => names(visit, SocketAddr::from((Ipv4Addr::LOCALHOST, capture::DNS_PORT))).await,
        Ok(Listen::Off) => visit.well("DNS: the agent of this machine answers no names (--listen-dns off)"),
        Err(rule) => visit.found(&catalogue::DNS, "names", format!("listen_dns: {rule}")),
    }
}

async fn captured(visit: &mut Visit, state_dir: &Path) {
    let outcome = capture::outcome(state_dir);
    match outcome {
        Ok(capture::Outcome::RolledBack(why)) => {
            visit.found(&catalogue::CAPTURE, "capture", format!("it was taken back: {why}"));
        }
        Ok(_) => {
            for port in [capture::OUTBOUND_PORT, capture::INBOUND_PORT] {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let reached = tokio::time::timeout(DEADLINE, TcpStream::connect(address)).await;
                match reached {
                    Ok(Ok(_)) => visit.well(format!("the proxy takes captured connections on port {port}")),
                    _ => visit.found(
                        &catalogue::CAPTURE,
                        "capture",
                        format!("no proxy listens on port {port}, where the rules bring connections"),
                    ),
                }
            }
        }
        Err(error) => visit.found(&catalogue::CAPTURE, "capture", format!("{error:#}")),
    }
}

async fn names(visit: &mut Visit, listen: SocketAddr) {
    match tokio::time::timeout(DEADLINE, dns::ask(listen, "localhost")).await {
        Ok(Ok(())) => visit.well(format!("the agent answers names at {listen}")),
        Ok(Err(error)) => visit.found(&catalogue::DNS, "names", format!("the agent at {listen}: {error}")),
        Err(_) => visit.found(&catalogue::DNS, "names", format!("the agent at {listen} does not answer")),
    }
}
