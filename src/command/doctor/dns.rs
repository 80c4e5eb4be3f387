//! One question to a DNS server, to see whether it answers at all (RFC 1035 section 4).

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

/// Our question among answers to others.
const ID: [u8; 2] = [0x77, 0x65];

/// Asks for the address of a name; whatever is answered to it will do.
pub async fn ask(server: SocketAddr, name: &str) -> Result<()> {
    let own = if server.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        "[::]:0".parse().map_err(Error::other)?
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(&question(name)).await?;
    let mut answer = [0; 512];
    let size = socket.recv(&mut answer).await?;
    check(&answer[..size])
}

fn question(name: &str) -> Vec<u8> {
    // Recursion desired, one question.
    let mut message = [&ID[..], &[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        // Labels have 63 bytes at most.
        message.push(label.len().min(63) as u8);
        message.extend(label.bytes().take(63));
    }
    // The end of the name, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn check(answer: &[u8]) -> Result<()> {
    let [a, b, flags, code, ..] = *answer else { return Err(Error::new(ErrorKind::InvalidData, "no answer to DNS")) };
    if [a, b] != ID || flags & 0x80 == 0 {
        return Err(Error::new(ErrorKind::InvalidData, "what it says is no answer to the question"));
    }
    match code & 0x0f {
        2 => Err(Error::other("it fails to ask further (SERVFAIL)")),
        5 => Err(Error::other("it refuses to answer (REFUSED)")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_servers_understand() {
        let message = question("a.bc");
        assert_eq!(message[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
    }

    #[test]
    fn an_answer_is_told_from_a_failure() {
        let answer = |flags: u8, code: u8| [ID[0], ID[1], flags, code];
        assert!(check(&answer(0x81, 0x80)).is_ok());
        assert!(check(&answer(0x81, 0x83)).is_ok(), "a name that is not there is an answer too");
        for wrong in [&answer(0x81, 0x82)[..], &answer(0x81, 0x85), &answer(0x01, 0), &[1, 2, 0x80, 0], &[]] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}
