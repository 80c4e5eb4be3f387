//! The examples of a Markdown document: blocks that are indented or fenced, and what stands in backquotes in the text.

/// A block of an example, from its first line on.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub line: usize,
    pub text: String,
}

pub fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut fenced, mut open) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            (fenced, open) = (!fenced, false);
            continue;
        }
        let part = if fenced { Some(line) } else { line.strip_prefix("    ") };
        match part.filter(|part| fenced || !part.is_empty()) {
            Some(part) if open => found.last_mut().unwrap().text += &format!("{part}\n"),
            Some(part) => found.push(Block { line: number, text: format!("{part}\n") }),
            None => {}
        }
        open = part.is_some();
    }
    found
}

/// What stands in backquotes outside of blocks.
pub fn words(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
    let prose = prose.join(" ");
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The commands of a block and where they begin; a line that ends with a backslash goes on in the next.
pub fn commands(block: &Block) -> Vec<(usize, String)> {
    let (mut found, mut begun) = (Vec::new(), None);
    for (number, line) in (block.line..).zip(block.text.lines()) {
        let (begin, before) = begun.take().unwrap_or((number, String::new()));
        let whole = format!("{before}{}", if before.is_empty() { line } else { line.trim_start() });
        match whole.strip_suffix('\\') {
            Some(part) => begun = Some((begin, part.to_owned())),
            None => found.push((begin, command(&whole).to_owned())),
        }
    }
    found.retain(|(_, line)| !line.is_empty());
    found
}

/// A command without what is said about it, which stands two blanks or more behind it.
fn command(line: &str) -> &str {
    line.split("  ").next().unwrap_or_default().trim()
}

#[test]
fn examples_are_found_in_both_forms() {
    let text = "Do\n\n    weft up     starts it\n    weft down\n\nand `weft top`\n\n```\ncurl x\n\n```\n";
    let found = blocks(text);
    assert_eq!(found[0], Block { line: 3, text: "weft up     starts it\nweft down\n".into() });
    assert_eq!(found[1].text, "curl x\n\n");
    assert_eq!(commands(&found[0]), [(3, "weft up".to_owned()), (4, "weft down".to_owned())]);
    let long = Block { line: 7, text: "weft run --port 1 \\\n  -- sleep 1     waits\n".into() };
    assert_eq!(commands(&long), [(7, "weft run --port 1 -- sleep 1".to_owned())]);
    assert_eq!(words("and `weft top`, `weft graph`"), ["weft top", "weft graph"]);
}
