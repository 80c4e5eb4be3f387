//! What reaches the socket, and when.

use std::collections::VecDeque;

use super::*;

/// A socket that notes each write, takes as much as it is told, and gives what it is told.
#[derive(Default)]
struct Socket {
    written: Rc<RefCell<Vec<Vec<u8>>>>,
    takes: Rc<RefCell<VecDeque<usize>>>,
    gives: Vec<u8>,
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = match self.takes.borrow_mut().pop_front() {
            Some(0) => return Poll::Pending,
            Some(n) => n.min(buf.len()),
            None => buf.len(),
        };
        self.written.borrow_mut().push(buf[..n].to_vec());
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = self.gives.len().min(buf.remaining());
        buf.put_slice(&self.gives.drain(..n).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

fn context() -> Context<'static> {
    Context::from_waker(std::task::Waker::noop())
}

fn write(io: &mut Gather<Socket>, bytes: &[u8]) -> Poll<usize> {
    let polled = Pin::new(&mut *io).poll_write(&mut context(), bytes).map(Result::unwrap);
    let _ = Pin::new(io).poll_flush(&mut context());
    polled
}

#[test]
fn what_is_written_in_one_turn_leaves_at_once() {
    let socket = Socket::default();
    let written = Rc::clone(&socket.written);
    let (mut io, turns) = gather(socket);
    let polled = turns.poll(&mut context(), |_| -> Poll<()> {
        (0..3).for_each(|_| assert_eq!(write(&mut io, b"frame "), Poll::Ready(6)));
        assert!(written.borrow().is_empty());
        Poll::Pending
    });
    assert!(polled.is_pending());
    assert_eq!(*written.borrow(), [b"frame frame frame ".to_vec()]);
}

#[test]
fn outside_of_a_turn_a_flush_is_a_flush() {
    let socket = Socket::default();
    let written = Rc::clone(&socket.written);
    let (mut io, _turns) = gather(socket);
    assert_eq!(write(&mut io, b"settings"), Poll::Ready(8));
    assert_eq!(*written.borrow(), [b"settings".to_vec()]);
}

#[test]
fn nothing_is_lost_or_disordered_by_a_slow_client() {
    let socket = Socket::default();
    let (written, takes) = (Rc::clone(&socket.written), Rc::clone(&socket.takes));
    takes.borrow_mut().extend([5, 0, 1000, 0]);
    let (mut io, turns) = gather(socket);
    let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut left = &sent[..];
    while !left.is_empty() {
        let _ = turns.poll(&mut context(), |_| -> Poll<()> {
            // Small and large frames in turn.
            for size in [9, 700, 3000, 20_000] {
                let piece = &left[..size.min(left.len())];
                let Poll::Ready(n) = write(&mut io, piece) else { break };
                left = &left[n..];
            }
            Poll::Pending
        });
    }
    assert_eq!(written.borrow().concat(), sent);
}

#[test]
fn no_more_gathers_than_a_buffer_holds() {
    let socket = Socket::default();
    socket.takes.borrow_mut().extend([0; 8]);
    let (mut io, turns) = gather(socket);
    let mut taken = 0;
    let _ = turns.poll(&mut context(), |_| -> Poll<()> {
        while let Poll::Ready(n) = write(&mut io, &[7; 1000]) {
            taken += n;
        }
        Poll::Pending
    });
    assert_eq!(taken, SIZE / 1000 * 1000);
}

#[test]
fn bytes_are_read_in_order_whatever_piece_is_asked_for() {
    let gives: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut io, _turns) = gather(Socket { gives: gives.clone(), ..Socket::default() });
    let mut read = Vec::new();
    for size in [1, 9, 8192, 100, 16_384, 4000].into_iter().cycle() {
        let mut piece = vec![0; size];
        let mut buf = ReadBuf::new(&mut piece);
        assert!(Pin::new(&mut io).poll_read(&mut context(), &mut buf).is_ready());
        if buf.filled().is_empty() {
            break;
        }
        read.extend_from_slice(buf.filled());
    }
    assert_eq!(read, gives);
}
