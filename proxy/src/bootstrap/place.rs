//! Where in a YAML file a field stands, so that what is wrong with it is found in the editor.

/// The line of a field, as deep as its path can be followed by the keys and items of block style. In flow style, it is
/// the line where the flow begins that holds the field.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let mut lines: Vec<Line> = (1..).zip(text.lines()).filter_map(|(number, text)| Line::of(number, text)).collect();
    let mut found = None;
    for step in steps(path) {
        let Some(inside) = enter(lines, &step) else { break };
        found = Some(inside.0);
        lines = inside.1;
    }
    found
}

enum Step {
    Key(String),
    Item(usize),
}

/// `a.b[2]["c"].d`
fn steps(path: &str) -> Vec<Step> {
    let mut found = Vec::new();
    for part in path.split(['.', '[']).map(|part| part.trim_end_matches(']').trim_matches('"')) {
        match part.parse() {
            Ok(index) => found.push(Step::Item(index)),
            Err(_) => found.push(Step::Key(part.to_owned())),
        }
    }
    found
}

/// A line that is neither empty nor a comment.
struct Line {
    number: usize,
    text: String,
}

impl Line {
    fn of(number: usize, text: &str) -> Option<Self> {
        let rest = text.trim();
        let content = !rest.is_empty() && !rest.starts_with('#') && rest != "---";
        content.then(|| Self { number, text: text.to_owned() })
    }

    fn indent(&self) -> usize {
        self.text.len() - self.text.trim_start_matches(' ').len()
    }

    fn is_item(&self) -> bool {
        let rest = self.text.trim();
        rest == "-" || rest.starts_with("- ")
    }

    fn has_key(&self, key: &str) -> bool {
        let text = self.text.trim().trim_start_matches(['"', '\'']);
        let rest = text.strip_prefix(key).map(|rest| rest.trim_start_matches(['"', '\'']));
        rest.is_some_and(|rest| rest.starts_with(':'))
    }
}

/// The line of a key or item, and what lies within it.
fn enter(lines: Vec<Line>, step: &Step) -> Option<(usize, Vec<Line>)> {
    let indent = lines.first()?.indent();
    let at_level = |line: &Line| line.indent() == indent;
    let mut fitting = lines.iter().enumerate().filter(|(_, line)| at_level(line));
    let at = match step {
        Step::Key(key) => fitting.find(|(_, line)| line.has_key(key))?.0,
        Step::Item(index) => fitting.filter(|(_, line)| line.is_item()).nth(*index)?.0,
    };
    let is_item = matches!(step, Step::Item(_));
    let number = lines[at].number;
    let mut inside = Vec::new();
    for (index, mut line) in lines.into_iter().enumerate().skip(at) {
        if index == at {
            if is_item {
                line.text = line.text.replacen('-', " ", 1);
                inside.extend((!line.text.trim().is_empty()).then_some(line));
            }
            continue;
        }
        // The items of a list may stand as deep as its key.
        let below = line.indent() > indent || !is_item && line.indent() == indent && line.is_item();
        if !below {
            break;
        }
        inside.push(line);
    }
    Some((number, inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment
static_resources:
  listeners:
  - name: a
    address: {socket_address: {port_value: 1}}

  - name: b
    filter_chains:
    - filters:
      - name: f
        typed_config:
          '@type': x
          stat_prefix: s
  clusters:
    - name: c
      \"type\": EDS
";

    #[test]
    fn a_field_is_found_by_its_path_and_else_what_holds_it() {
        for (path, line) in [
            ("static_resources", Some(2)),
            ("static_resources.listeners[0].name", Some(4)),
            ("static_resources.listeners[0].address.socket_address.port_value", Some(5)),
            ("static_resources.listeners[1].filter_chains[0].filters[0].typed_config.stat_prefix", Some(13)),
            ("static_resources.listeners[1].filter_chains[0].transport_socket", Some(9)),
            ("static_resources.clusters[0].type", Some(16)),
            ("static_resources.clusters[7]", Some(14)),
            ("admin.address", None),
        ] {
            assert_eq!(line_of(TEXT, path), line, "{path}");
        }
    }
}
