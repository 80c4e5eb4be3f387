//! How heads are written for peers that are particular about it.

use crate::http::message::Version;

/// What a client is particular about, of a head that was just written.
pub(super) fn response(head: &mut [u8], version: Version, proper: bool) {
    if version == Version::Http10
        && let Some(minor) = head.get_mut(b"HTTP/1.".len())
    {
        *minor = b'0';
    }
    if proper {
        names(head);
    }
}

/// Writes every word of a header's name with a capital letter (Envoy, `proper_case_words`).
pub(super) fn names(head: &mut [u8]) {
    for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
        let mut begins = true;
        for byte in line.iter_mut().take_while(|byte| **byte != b':') {
            if begins {
                byte.make_ascii_uppercase();
            }
            begins = !byte.is_ascii_alphanumeric();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_of_names_begin_with_capital_letters_and_values_stay() {
        let mut head = *b"GET /a-b HTTP/1.1\r\nhost: a-b:c\r\nx-b3-trace_id: d-e\r\n\r\n";
        super::names(&mut head);
        assert_eq!(&head, b"GET /a-b HTTP/1.1\r\nHost: a-b:c\r\nX-B3-Trace_Id: d-e\r\n\r\n");
    }
}
