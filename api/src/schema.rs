//! What the wire says without words: which messages there are, and which field each number stands for. It is read
//! where it lies in the program, so that it costs no memory.

/// Written by the build script: the numbers of messages and of fields, their records, and all names.
static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));

const HEAD: usize = 8;
const MESSAGE: usize = 16;
const FIELD: usize = 16;

/// A message of Envoy's API, or one that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message(u32);

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(u32);

fn word(at: usize) -> u32 {
    let bytes = TABLE.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

fn name(at: usize) -> &'static str {
    let (start, length) = (word(at) as usize, word(at + 4) as usize);
    TABLE.get(start..start + length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// How many fields all messages have.
pub fn fields() -> usize {
    word(4) as usize
}

/// The first of `count` that is not below, by halves.
fn search(count: u32, is_below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

impl Message {
    /// By its full name, as in a type URL.
    pub fn named(full_name: &str) -> Option<Self> {
        let count = word(0);
        let at = search(count, |index| Self(index).name() < full_name);
        (at < count && Self(at).name() == full_name).then_some(Self(at))
    }

    fn at(self) -> usize {
        HEAD + self.0 as usize * MESSAGE
    }

    pub fn name(self) -> &'static str {
        name(self.at())
    }

    fn first(self) -> u32 {
        word(self.at() + 8)
    }

    fn count(self) -> u32 {
        word(self.at() + 12) & !ENTRY
    }

    /// Whether it stands for an entry of a map: 1 is the key, 2 the value.
    pub fn is_map_entry(self) -> bool {
        word(self.at() + 12) & ENTRY != 0
    }

    /// The field of a number.
    pub fn field(self, number: u32) -> Option<Field> {
        let (first, count) = (self.first(), self.count());
        let at = search(count, |index| Field(first + index).number() < number);
        let field = Field(first + at);
        (at < count && field.number() == number).then_some(field)
    }

    /// The field of a name, as the .proto file has it.
    pub fn field_named(self, name: &str) -> Option<Field> {
        (self.first()..self.first() + self.count()).map(Field).find(|field| field.name() == name)
    }
}

const ENTRY: u32 = 1 << 31;
const NO_MESSAGE: u32 = u32::MAX;

impl Field {
    fn at(self) -> usize {
        HEAD + word(0) as usize * MESSAGE + self.0 as usize * FIELD
    }

    /// Its place among all fields.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub fn name(self) -> &'static str {
        name(self.at())
    }

    pub fn number(self) -> u32 {
        word(self.at() + 8)
    }

    /// What it holds, if that is a message.
    pub fn message(self) -> Option<Message> {
        Some(word(self.at() + 12)).filter(|index| *index != NO_MESSAGE).map(Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_descriptors_say() {
        let pool = crate::descriptor_pool();
        let mut seen = 0;
        for message in pool.all_messages() {
            let known = Message::named(message.full_name()).unwrap_or_else(|| panic!("{}", message.full_name()));
            assert_eq!(known.is_map_entry(), message.is_map_entry());
            for field in message.fields() {
                let known = known.field(field.number()).unwrap_or_else(|| panic!("{}", field.full_name()));
                assert_eq!(known.name(), field.name());
                let holds = field.kind().as_message().map(|message| message.full_name().to_owned());
                assert_eq!(known.message().map(Message::name), holds.as_deref(), "{}", field.full_name());
                seen += 1;
            }
        }
        assert_eq!(seen, fields());
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        let node = Message::named("envoy.config.core.v3.Node").expect("a message");
        assert!(node.field(1).is_some_and(|field| field.name() == "id" && node.field_named("id") == Some(field)));
        assert_eq!((node.field(0), node.field(999), node.field_named("nothing")), (None, None, None));
        assert_eq!((Message::named(""), Message::named("zzz"), Message::named("envoy.Nothing")), (None, None, None));
    }
}
