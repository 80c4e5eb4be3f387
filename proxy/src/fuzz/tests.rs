//! The seeds through the fuzz targets.

use std::path::Path;

use super::TARGETS;

#[test]
fn every_seed_passes_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, target) in TARGETS {
        let mut count = 0;
        for file in std::fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")) {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_target_panic(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        TARGETS.iter().for_each(|(_, target)| target(&data));
    }
}
