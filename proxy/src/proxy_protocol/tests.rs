//! Headers as Envoy 1.40 takes and refuses them.

use proptest::prelude::*;

use super::*;

const INET: [u8; 12] = [10, 0, 0, 1, 10, 0, 0, 2, 0x03, 0xe8, 0, 80];

fn two(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE_2, &[command, family], &length, body].concat()
}

/// Where a header says that the connection is from and to.
fn told(bytes: &[u8]) -> String {
    match parse(bytes) {
        Ok(Parsed::Header(header)) => {
            assert_eq!(header.length, bytes.len());
            header.addresses.map_or("itself".to_owned(), |both| format!("{} to {}", both.source, both.destination))
        }
        Ok(Parsed::Incomplete(_)) => "incomplete".to_owned(),
        Ok(Parsed::Absent) => "absent".to_owned(),
        Err(_) => "refused".to_owned(),
    }
}

#[test]
fn lines_of_version_1_tell_addresses_or_are_refused() {
    let long = |n: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(n));
    for (line, expected) in [
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1000 80\r\n", "10.0.0.1:1000 to 10.0.0.2:80"),
        ("PROXY TCP6 1::1 1::2 1000 80\r\n", "[1::1]:1000 to [1::2]:80"),
        ("PROXY UNKNOWN\r\n", "itself"),
        ("PROXY UNKNOWN ff ff 1 2 x\r\n", "itself"),
        (&long(92), "itself"),
        (&long(93), "refused"),
        ("PROXY TCP4 1::1 10.0.0.2 1000 80\r\n", "refused"),
        ("PROXY UDP4 10.0.0.1 10.0.0.2 1000 80\r\n", "refused"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 70000 80\r\n", "refused"),
        ("PROXY TCP4  10.0.0.1 10.0.0.2 1000 80\r\n", "refused"),
        ("PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "refused"),
        ("PROXY \r\n", "refused"),
        ("PROXY\r\n", "absent"),
        ("PROXYTCP4\r\n", "absent"),
        ("GET / HTTP/1.1\r\n", "absent"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1000 80\n", "incomplete"),
    ] {
        assert_eq!(told(line.as_bytes()), expected, "{line:?}");
    }
}

#[test]
fn headers_of_version_2_tell_addresses_or_are_refused() {
    let inet6 = [&[0; 15][..], &[1], &[0; 15], &[2, 0x03, 0xe8, 0, 80]].concat();
    let with = |tlv: &[u8]| two(0x21, 0x11, &[&INET[..], tlv].concat());
    for (bytes, expected) in [
        (two(0x21, 0x11, &INET), "10.0.0.1:1000 to 10.0.0.2:80"),
        (two(0x21, 0x12, &INET), "10.0.0.1:1000 to 10.0.0.2:80"),
        (two(0x21, 0x21, &inet6), "[::1]:1000 to [::2]:80"),
        (with(b"\xea\0\x03abc"), "10.0.0.1:1000 to 10.0.0.2:80"),
        (with(b"\xea\0\x09abc"), "refused"),
        (with(b"\xea\0"), "refused"),
        (two(0x21, 0x10, &INET), "refused"),
        (two(0x21, 0x13, &INET), "refused"),
        (two(0x21, 0x11, &INET[..8]), "refused"),
        (two(0x20, 0, b""), "itself"),
        (two(0x20, 0x11, &INET), "itself"),
        (two(0x20, 0x55, b"junk"), "itself"),
        (two(0x22, 0x11, &INET), "refused"),
        (two(0x11, 0x11, &INET), "refused"),
        (two(0x21, 0, b""), "refused"),
        (two(0x21, 0x31, &[0; 216]), "refused"),
        (two(0x21, 0x41, &INET), "refused"),
    ] {
        assert_eq!(told(&bytes), expected, "{bytes:x?}");
    }
}

/// CVE-2024-23327, CVE-2026-47692.
#[test]
fn values_need_not_be_text_and_may_fill_the_header() {
    let most = 65_535 - INET.len() - 3;
    let tlvs = vec![(0xea, vec![0xff; most])];
    let addresses = Addresses { source: "10.0.0.1:1000".parse().unwrap(), destination: "10.0.0.2:80".parse().unwrap() };
    let bytes = write_2(Some(addresses), &tlvs).unwrap();
    let Ok(Parsed::Header(header)) = parse(&bytes) else { panic!("is whole") };
    assert_eq!((header.length, header.tlvs), (65_551, tlvs));
    for too_long in [vec![(0xea, vec![0; most + 1])], vec![(0xea, vec![0; 70_000])], vec![(1, vec![0; 40_000]); 2]] {
        assert_eq!(write_2(Some(addresses), &too_long), Err(TooLong));
    }
}

#[test]
fn addresses_of_two_families_are_not_told_half() {
    let mixed = Addresses { source: "[1::1]:1".parse().unwrap(), destination: "10.0.0.2:80".parse().unwrap() };
    assert_eq!(write_1(Some(mixed)), b"PROXY UNKNOWN\r\n");
    assert_eq!(told(&write_2(Some(mixed), &[]).unwrap()), "itself");
    let mapped = Addresses { source: "[::ffff:10.0.0.1]:1".parse().unwrap(), ..mixed };
    assert_eq!(told(&write_1(Some(mapped))), "10.0.0.1:1 to 10.0.0.2:80");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_nothing_shorter_is_whole(
        v6: bool, source: (u128, u16), destination: (u128, u16), rest: Vec<u8>,
        tlvs in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..4),
    ) {
        let at = |(ip, port): (u128, u16)| {
            let v4 = u32::try_from(ip & 0xffff_ffff).unwrap();
            let ip: IpAddr = if v6 { (ip | 1 << 127).to_be_bytes().into() } else { v4.to_be_bytes().into() };
            SocketAddr::new(ip, port)
        };
        let addresses = Some(Addresses { source: at(source), destination: at(destination) });
        for (written, version) in [(write_1(addresses), Version::V1), (write_2(addresses, &tlvs).unwrap(), Version::V2)] {
            let expected = Header {
                version, length: written.len(), addresses,
                tlvs: if version == Version::V2 { tlvs.clone() } else { Vec::new() },
            };
            for cut in 0..written.len() {
                prop_assert!(matches!(parse(&written[..cut]), Ok(Parsed::Incomplete(n)) if n > cut && n <= written.len()));
            }
            prop_assert_eq!(parse(&[&written[..], &rest].concat()), Ok(Parsed::Header(expected)));
        }
    }

    #[test]
    fn no_first_bytes_make_it_panic(first: Vec<u8>, kind in 0usize..3) {
        let begin = [&b""[..], SIGNATURE_1, SIGNATURE_2][kind];
        let _ = parse(&[begin, &first].concat());
    }
}
