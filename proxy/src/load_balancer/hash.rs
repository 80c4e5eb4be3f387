//! The hashes of consistent hashing, the same as in Envoy, so that both send a key to the same host.

use xxhash_rust::xxh64::xxh64;

use crate::config::HashFunction;

/// xxHash64 with seed 0.
pub fn xx(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// xxHash64 of several parts: the hash of each is the seed of the next.
pub fn xx_all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    parts.into_iter().fold(0, |seed, part| xxh64(part, seed))
}

/// xxHash64 with another seed.
pub fn xx_seeded(bytes: &[u8], seed: u64) -> u64 {
    xxh64(bytes, seed)
}

impl HashFunction {
    pub(super) fn of(self, bytes: &[u8]) -> u64 {
        match self {
            Self::XxHash => xx(bytes),
            Self::Murmur2 => murmur2(bytes),
        }
    }
}

/// MurmurHash64A with the seed that libstdc++ uses.
fn murmur2(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xc70f_6907;
    let mix = |value: u64| value ^ (value >> 47);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    for word in words {
        let data = mix(u64::from_le_bytes(*word).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
        hash = (hash ^ data).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let data = rest.iter().rev().fold(0, |data, byte| data << 8 | u64::from(*byte));
        hash = (hash ^ data).wrapping_mul(FACTOR);
    }
    mix(mix(hash).wrapping_mul(FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_their_definitions() {
        assert_eq!(xx(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xx(b"foo"), 0x33bf_00a8_59c4_ba3f);
        assert_eq!(xx_all([&b"foo"[..], b"bar"]), xx_seeded(b"bar", xx(b"foo")));
        assert_eq!(murmur2(b"foo"), 9_631_199_822_919_835_226);
        assert_eq!(murmur2(b"hello world!12345"), murmur2(b"hello world!12345"));
    }
}
