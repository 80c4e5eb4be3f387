//! Builds trees from the parser's events, within bounds on size, depth and what aliases may multiply.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{Mark, Node, Pair, Value, YamlError, scalar};

/// Longest text taken, in bytes.
const MAX_TEXT: usize = 10 << 20;
/// Most values in one text.
const MAX_NODES: usize = 2_000_000;
/// What aliases and the values that they name may add to one text, in bytes of memory.
const MAX_COPIED: usize = 8 << 20;
const NODE: usize = size_of::<Pair>();
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Reads all documents of a text, empty ones left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes, more than the {MAX_TEXT} that are taken", text.len());
        return Err(YamlError { at: Mark { line: 1, column: 1 }, message });
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = event.map_err(|error| YamlError {
            at: mark(error.marker().line(), error.marker().col()),
            message: format!("not YAML: {}", error.info()),
        })?;
        builder.take(event, &span)?;
    }
    Ok(builder.documents)
}

fn mark(line: usize, column: usize) -> Mark {
    Mark { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column + 1).unwrap_or(u32::MAX) }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    /// Bytes.
    copied: usize,
}

/// A list or mapping whose end has not come yet.
struct Frame {
    at: Mark,
    anchor: usize,
    /// Levels below.
    depth: usize,
    /// Bytes.
    size: usize,
    filling: Filling,
}

enum Filling {
    List(Vec<Node>),
    Map { pairs: Vec<Pair>, keys: HashSet<String>, key: Option<(String, Mark)>, merges: Vec<Node> },
}

#[derive(Clone)]
struct Anchored {
    node: Node,
    depth: usize,
    size: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let at = mark(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain;
                let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let value = if quoted || as_text { Value::Text(text.into_owned()) } else { scalar::plain(&text) };
                let size = NODE + if let Value::Text(text) = &value { text.len() } else { 0 };
                self.place(Anchored { node: Node { value, at }, depth: 0, size }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Filling::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                let filling = Filling::Map { pairs: Vec::new(), keys: HashSet::new(), key: None, merges: Vec::new() };
                self.begin(at, anchor, filling)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at)?,
            Event::Alias(id) => {
                let Some(anchored) = self.anchors.get(&id) else {
                    return Err(YamlError { at, message: "an alias cannot stand inside what it names".into() });
                };
                self.copied(anchored.size, at)?;
                let copy = self.anchors[&id].clone();
                self.place(copy, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, at: Mark) -> Result<(), YamlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(YamlError { at, message: format!("more than {MAX_NODES} values") });
        }
        Ok(())
    }

    /// What a name is kept for, or an alias stands for, is there once more.
    fn copied(&mut self, bytes: usize, at: Mark) -> Result<(), YamlError> {
        self.copied = self.copied.saturating_add(bytes);
        if self.copied > MAX_COPIED {
            let message = format!("aliases stand for more than {MAX_COPIED} bytes; write out what they name");
            return Err(YamlError { at, message });
        }
        Ok(())
    }

    fn begin(&mut self, at: Mark, anchor: usize, filling: Filling) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Frame { at, anchor, depth: 0, size: NODE, filling });
        Ok(())
    }

    fn end(&mut self, at: Mark) -> Result<(), YamlError> {
        let Some(frame) = self.open.pop() else {
            return Err(YamlError { at, message: "not YAML: an end without a beginning".into() });
        };
        let value = match frame.filling {
            Filling::List(items) => Value::List(items),
            Filling::Map { mut pairs, mut keys, merges, .. } => {
                for source in merges {
                    merge(&mut pairs, &mut keys, source)?;
                }
                Value::Map(pairs)
            }
        };
        let node = Node { value, at: frame.at };
        self.place(Anchored { node, depth: frame.depth + 1, size: frame.size }, frame.anchor)
    }

    /// Puts a finished value where it belongs: into the open list or mapping, or among the documents.
    fn place(&mut self, done: Anchored, anchor: usize) -> Result<(), YamlError> {
        self.count(done.node.at)?;
        if anchor != 0 {
            self.copied(done.size, done.node.at)?;
            self.anchors.insert(anchor, done.clone());
        }
        if self.open.len() + done.depth > MAX_DEPTH {
            return Err(too_deep(done.node.at));
        }
        let Some(frame) = self.open.last_mut() else {
            if !done.node.is_null() {
                self.documents.push(done.node);
            }
            return Ok(());
        };
        frame.depth = frame.depth.max(done.depth);
        frame.size = frame.size.saturating_add(done.size);
        frame.filling.add(done.node)
    }
}

impl Filling {
    fn add(&mut self, node: Node) -> Result<(), YamlError> {
        match self {
            Self::List(items) => items.push(node),
            Self::Map { pairs, keys, key, merges } => match key.take() {
                None => *key = Some((key_text(&node)?, node.at)),
                Some((name, at)) if name == "<<" => {
                    merges.push(Node { value: node.value, at });
                }
                Some((name, at)) => {
                    if !keys.insert(name.clone()) {
                        return Err(YamlError { at, message: format!("the key {name:?} is there twice") });
                    }
                    pairs.push(Pair { key: name, at, value: node });
                }
            },
        }
        Ok(())
    }
}

/// Adds the pairs that a merge key (`<<`) brings, unless the mapping has them itself.
fn merge(pairs: &mut Vec<Pair>, keys: &mut HashSet<String>, source: Node) -> Result<(), YamlError> {
    match source.value {
        Value::Map(merged) => {
            for pair in merged {
                if keys.insert(pair.key.clone()) {
                    pairs.push(pair);
                }
            }
            Ok(())
        }
        Value::List(sources) if sources.iter().all(|source| matches!(source.value, Value::Map(_))) => {
            sources.into_iter().try_for_each(|source| merge(pairs, keys, source))
        }
        _ => Err(YamlError { at: source.at, message: "<< takes an object or a list of objects".into() }),
    }
}

fn key_text(node: &Node) -> Result<String, YamlError> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(YamlError { at: node.at, message: format!("a key is a string, not {}", node.type_name()) }),
    }
}

fn too_deep(at: Mark) -> YamlError {
    YamlError { at, message: format!("nested more than {MAX_DEPTH} levels deep") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Vec<serde_json::Value> {
        parse(text).unwrap().iter().map(Node::to_json).collect()
    }

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{}:{}: {}", error.at.line, error.at.column, error.message)
    }

    #[test]
    fn values_know_their_place() {
        let documents = parse("---\n---\na:\n  - b: 7\n").unwrap();
        assert_eq!(documents.len(), 1);
        let Value::List(items) = &documents[0].get("a").unwrap().value else { panic!("no list") };
        assert_eq!(items[0].get("b").unwrap().at, Mark { line: 4, column: 8 });
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nsame: *b\n";
        let expected =
            serde_json::json!({"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}, "same": {"x": 1, "y": 2}});
        assert_eq!(json(text), [expected]);
    }

    #[test]
    fn what_would_explode_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let before = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(error(&bomb).contains("aliases stand for more than"));
        // Few values that are long, and names within names.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(100_000));
        assert!(error(&long).contains("aliases stand for more than"));
        let within = nested_names(40) + &"x".repeat(1 << 20);
        assert!(error(&within).contains("aliases stand for more than"));
        let nested = format!("{}{}", "[".repeat(80), "]".repeat(80));
        assert!(error(&nested).contains("deep"));
        assert!(error(&" ".repeat(MAX_TEXT + 1)).contains("bytes"));
    }

    /// `&a0 - &a1 - …`, each around the next.
    fn nested_names(depth: usize) -> String {
        (0..depth).map(|level| format!("{}- &a{level}\n", " ".repeat(level))).collect::<String>() + &" ".repeat(depth)
    }

    #[test]
    fn duplicate_keys_and_broken_text_say_where() {
        assert_eq!(error("a: 1\nb: 2\na: 3\n"), "3:1: the key \"a\" is there twice");
        assert!(error("a: [1, 2\n").starts_with("1:4: not YAML"), "{}", error("a: [1, 2\n"));
        assert!(error("&x [*x]").contains("alias"));
    }
}
