//! Encoded messages field by field, by the table of what each number stands for, without decoding them.

use api::prost::encoding::{self, DecodeContext, WireType};
use api::schema::{Field, Message};
use bytes::Bytes;

use super::ResourceKind;

/// A field that is set.
pub struct Entry<'a> {
    pub field: Field,
    /// What it holds, where that is a message.
    pub message: Option<(Message, &'a [u8])>,
}

/// The fields of an encoded message, as they come. `None` in place of a field that is not known or cannot be read, and
/// nothing follows it.
pub struct Entries<'a> {
    message: Message,
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    pub fn of(message: Message, bytes: &'a [u8]) -> Self {
        Self { message, rest: bytes }
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let (number, kind) = encoding::decode_key(&mut self.rest).ok()?;
        let field = self.message.field(number)?;
        let message = match (field.message(), kind) {
            (Some(message), WireType::LengthDelimited) => {
                let length = usize::try_from(encoding::decode_varint(&mut self.rest).ok()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Some((message, bytes))
            }
            (Some(_), _) => return None,
            (None, _) => {
                encoding::skip_field(kind, number, &mut self.rest, DecodeContext::default()).ok()?;
                None
            }
        };
        Some(Entry { field, message })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// The resources that stand in an encoded bootstrap file, which they share.
pub fn static_resources(file: &Bytes) -> Vec<(ResourceKind, Bytes)> {
    let all = Message::named("envoy.config.bootstrap.v3.Bootstrap").map(|message| Entries::of(message, file));
    let all = all.into_iter().flatten().flatten().filter(|entry| entry.field.name() == "static_resources");
    let inner = all.filter_map(|entry| entry.message).flat_map(|(message, bytes)| Entries::of(message, bytes));
    let kind = |name| match name {
        "clusters" => Some(ResourceKind::Cluster),
        "listeners" => Some(ResourceKind::Listener),
        "secrets" => Some(ResourceKind::Secret),
        _ => None,
    };
    let inner = inner.flatten().filter_map(|entry| Some((kind(entry.field.name())?, entry.message?.1)));
    inner.map(|(kind, bytes)| (kind, file.slice_ref(bytes))).collect()
}

/// The type of a packed message.
pub fn type_of(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}
