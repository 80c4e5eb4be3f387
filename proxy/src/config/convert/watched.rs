//! The directories that a resource says are watched for changes of the files it names (`watched_directory`).

use std::path::PathBuf;

use api::envoy::config::core::v3::WatchedDirectory;
use api::prost::{Message as _, Name};
use api::prost_types::Any;
use api::schema::Message;

use crate::config::wire::{Entries, type_of};

/// Of a resource that has been converted before, so that all its types are known.
pub fn watched_directories<M: Name>(message: &M) -> Vec<PathBuf> {
    let mut found = Vec::new();
    named(&M::full_name(), &message.encode_to_vec(), &mut found);
    found
}

fn named(name: &str, bytes: &[u8], found: &mut Vec<PathBuf>) {
    if let Some(message) = Message::named(name) {
        walk(message, bytes, found);
    }
}

fn walk(message: Message, bytes: &[u8], found: &mut Vec<PathBuf>) {
    match message.name() {
        "google.protobuf.Any" => {
            if let Ok(any) = Any::decode(bytes) {
                named(type_of(&any.type_url), &any.value, found);
            }
        }
        "envoy.config.core.v3.WatchedDirectory" => {
            found.extend(WatchedDirectory::decode(bytes).map(|directory| directory.path.into()));
        }
        _ => {
            let inner = Entries::of(message, bytes).flatten().filter_map(|entry| entry.message);
            inner.for_each(|(message, bytes)| walk(message, bytes, found));
        }
    }
}
