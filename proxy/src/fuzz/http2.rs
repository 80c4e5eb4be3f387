//! The counter of HTTP/2 frames: the same frames, whatever pieces the bytes come in.

use crate::http::h2::frames::{Follower, Frame};

pub fn frames(data: &[u8]) {
    assert_eq!(follow(data, data.len().max(1)), follow(data, 1));
}

fn follow(data: &[u8], piece: usize) -> Vec<Frame> {
    let (mut follower, mut found) = (Follower::new(0), Vec::new());
    data.chunks(piece).for_each(|piece| follower.feed(piece, |frame| found.push(frame)));
    found
}
