//! PEM (RFC 7468), as almost everybody writes it: lines of 64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const LINE: usize = 64;

/// What is in DER under a label, such as `CERTIFICATE`. It is overwritten when it is dropped, since it may be a key.
pub fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    // All of it at once: a text that grows leaves copies behind.
    let around = "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len();
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len().div_ceil(LINE) + around));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    for line in encoded.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

/// Certificates one after another.
pub fn certificates<T: AsRef<[u8]>>(certificates: &[T]) -> String {
    certificates.iter().map(|certificate| pem("CERTIFICATE", certificate.as_ref()).to_string()).collect()
}

/// A certificate with what a URL or a header could not carry written as `%XX`, as Envoy has it in
/// `%DOWNSTREAM_PEER_CERT%`.
pub fn url_encoded(certificate: &[u8]) -> String {
    let text = pem("CERTIFICATE", certificate);
    let mut out = String::with_capacity(text.len() * 5 / 4);
    for char in text.chars() {
        match char {
            '\n' => out.push_str("%0A"),
            ' ' => out.push_str("%20"),
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn what_is_written_reads_back_in_lines_of_64() {
        for length in [1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
            let text = pem("CERTIFICATE", &der);
            assert_eq!(text.capacity(), text.len(), "{length}");
            assert!(text.lines().all(|line| line.len() <= LINE), "{text:?}");
            assert_eq!(&*CertificateDer::from_pem_slice(text.as_bytes()).unwrap(), &der[..]);
        }
        let two = certificates(&[b"one", b"two"]);
        assert_eq!(CertificateDer::pem_slice_iter(two.as_bytes()).count(), 2);
        assert_eq!(
            url_encoded(&[0xfb, 0xff, 0xff, 0xff]),
            "-----BEGIN%20CERTIFICATE-----%0A%2B%2F%2F%2F%2Fw%3D%3D%0A-----END%20CERTIFICATE-----%0A"
        );
    }
}
