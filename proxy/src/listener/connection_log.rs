//! The access log of a listener: a line for each connection when it is over, one that led nowhere too.

use std::rc::Rc;
use std::sync::Arc;

use crate::access_log::{ConnectionInfo, LogContext, RequestInfo, ResponseFlags};
use crate::config::Listener;
use crate::worker::Worker;

/// A connection whose lines are to be written; `None` where the listener has no access log.
#[derive(Default)]
pub struct ConnectionLog(Option<Box<Logged>>);

struct Logged {
    worker: Rc<Worker>,
    info: RequestInfo,
}

impl ConnectionLog {
    /// Begins with the connection, so that its duration is that of the connection.
    pub fn begin(worker: &Rc<Worker>, listener: &Listener, known: impl FnOnce() -> ConnectionInfo) -> Self {
        let logged = || Logged { worker: Rc::clone(worker), info: RequestInfo::new(Arc::new(known()), 0) };
        Self((!listener.access_logs.is_empty()).then(|| Box::new(logged())))
    }

    /// More is known of the connection now.
    pub fn learnt(&mut self, connection: &Arc<ConnectionInfo>) {
        if let Some(Logged { info, .. }) = self.0.as_deref_mut() {
            info.connection = Arc::clone(connection);
        }
    }

    pub fn no_filter_chain(&mut self) {
        if let Some(Logged { info, .. }) = self.0.as_deref_mut() {
            info.flags |= ResponseFlags::NO_ROUTE_FOUND;
            info.connection_termination_details = Some("filter_chain_not_found".into());
        }
    }

    pub fn handshake_failed(&mut self, error: &std::io::Error) {
        if let Some(Logged { info, .. }) = self.0.as_deref_mut() {
            info.downstream_transport_failure_reason = Some(error.to_string().into());
        }
    }

    pub fn end(self) {
        if let Some(logged) = self.0 {
            write(&logged.worker, logged.info);
        }
    }
}

/// Writes the lines of a connection of which all is known.
pub fn write(worker: &Rc<Worker>, mut info: RequestInfo) {
    let listener = info.connection.listener.clone();
    info.duration = Some(info.start.elapsed());
    for log in listener.iter().flat_map(|listener| &listener.access_logs) {
        log.log(&LogContext::of_connection(&info), worker);
    }
}
