//! A root's private key on its way through a store to those who have the key of another root: sealed with AES-256-GCM
//! under a key that HKDF (RFC 5869) derives from that one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rcgen::KeyPair;
use zeroize::Zeroizing;

/// Nonce, ciphertext, tag. `place`: what it is and where it is kept, without which it is not opened.
pub fn seal(key: &KeyPair, under: &KeyPair, place: &str) -> Result<Vec<u8>, Unspecified> {
    let plain = Zeroizing::new(key.serialize_pem());
    // Bytes that had to move would leave a copy behind.
    let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    sealed.extend_from_slice(plain.as_bytes());
    let nonce = derived(under)?.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut *sealed)?;
    Ok([nonce.as_ref().as_slice(), &sealed].concat())
}

pub fn open(sealed: &[u8], under: &KeyPair, place: &str) -> Result<KeyPair, Unspecified> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let plain = derived(under)?.open_in_place(Nonce::from(nonce), Aad::from(place.as_bytes()), &mut text)?;
    let text = std::str::from_utf8(plain).map_err(|_| Unspecified)?;
    KeyPair::from_pem(text).map_err(|_| Unspecified)
}

fn derived(under: &KeyPair) -> Result<RandomizedNonceKey, Unspecified> {
    let secret = Zeroizing::new(under.serialize_der());
    let mut key = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, b"weft ca/rotation").extract(&secret);
    extracted.expand(&[b"next root"], &AES_256_GCM)?.fill(&mut *key)?;
    RandomizedNonceKey::new(&AES_256_GCM, &*key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_key_opens_it_and_only_where_it_was_put() {
        let [key, under, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let sealed = seal(&key, &under, "here").unwrap();
        assert_eq!(open(&sealed, &under, "here").unwrap().serialize_der(), key.serialize_der());
        assert_ne!(seal(&key, &under, "here").unwrap(), sealed);
        let changed: Vec<u8> = sealed.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 40)).collect();
        for (sealed, under, place) in [
            (&sealed[..], &other, "here"),
            (&sealed, &under, "there"),
            (&changed, &under, "here"),
            (&[1], &under, "here"),
        ] {
            assert!(open(sealed, under, place).is_err());
        }
    }
}
