//! `weft history`, `weft diff` and `weft rollback`: what was changed, and the way back.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode, finding};
use super::apply;
use super::data_dir::DataDir;
use super::duration;
use super::failure::{Exit, Failure};
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, tell, text, write};

#[derive(Debug, Args)]
pub struct Options {
    /// One object, as KIND/NAME or KIND/NAMESPACE/NAME, or all of a KIND
    object: Option<String>,
    /// The namespace of KIND/NAME
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How many revisions, the newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct DiffOptions {
    /// A revision: what it changed; or two as FROM..TO, or FROM.. up to now
    #[arg(value_name = "REV[..REV]", required_unless_present = "files")]
    revisions: Option<String>,
    /// What applying this would change: a file, a directory or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-", conflicts_with = "revisions")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct RollbackOptions {
    /// A revision: everything becomes what it was right after it; or one object at a revision, as KIND/NAME@REV or
    /// KIND/NAMESPACE/NAME@REV
    #[arg(value_name = "REV|OBJECT@REV")]
    target: String,
    /// The namespace of KIND/NAME
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Why, for the history
    #[arg(short, long, default_value = "")]
    message: String,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const COLUMNS: [Column; 5] = [
    ("REVISION", |item| text(item, "revision")),
    ("AGE", |item| age(item, SystemTime::now())),
    ("AUTHOR", |item| text(item, "author")),
    ("CHANGES", changes),
    ("MESSAGE", |item| text(item, "message")),
];

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let mut path = format!("history?limit={}", options.limit);
    if let Some(object) = &options.object {
        let parts: Vec<&str> = object.split('/').collect();
        path += &match parts.as_slice() {
            [kind] => format!("&kind={}", encode(kind)),
            _ => {
                let (kind, namespace, name) = named(object, &options.namespace)?;
                format!("&kind={}&namespace={}&name={}", encode(&kind), encode(&namespace), encode(&name))
            }
        };
    }
    let listing = Client::open(&data, &options.api)?.get(&path).await?;
    print_list(options.output.output, &listing, &COLUMNS, "nothing was changed through the API yet")
}

pub async fn diff(options: DiffOptions, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let Some(revisions) = &options.revisions else {
        return of_files(&client, &options).await;
    };
    let path = match revisions.split_once("..") {
        None => format!("history/{}", revision(revisions)?),
        Some((from, "")) => format!("history/_diff?from={}", revision(from)?),
        Some((from, to)) => format!("history/_diff?from={}&to={}", revision(from)?, revision(to)?),
    };
    let answer = client.get(&path).await?;
    match options.output.output {
        Format::Table => print_diff(&answer),
        format => print_value(format, &answer),
    }
}

/// What applying files would change. What they do not name stays as it is, and is not shown.
async fn of_files(client: &Client, options: &DiffOptions) -> anyhow::Result<()> {
    let (mut items, mut rejected) = (Vec::new(), Vec::new());
    for source in apply::read_all(&options.files)? {
        let mut told = apply::dry_run(client, &source).await?;
        if told["valid"] != true {
            rejected.extend(told["diagnostics"].as_array().into_iter().flatten().map(finding));
        }
        items.extend(told["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
    }
    if !rejected.is_empty() {
        return Err(Failure::new(Exit::Rejected, rejected.join("\n")).into());
    }
    let words: String = items.iter().map(|item| text(item, "unified")).collect();
    let answer = json!({ "items": items, "diff": words });
    match options.output.output {
        Format::Table => print_diff(&answer),
        format => print_value(format, &answer),
    }
}

pub async fn rollback(options: RollbackOptions, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let order = match options.target.rsplit_once('@') {
        None => json!({ "revision": revision(&options.target)?, "message": options.message }),
        Some((object, at)) => {
            let (kind, namespace, name) = named(object, &options.namespace)?;
            let object = json!({ "kind": kind, "namespace": namespace, "name": name });
            json!({ "revision": revision(at)?, "object": object, "message": options.message })
        }
    };
    let query = if options.dry_run { "?dryRun=server" } else { "" };
    let done = client.post(&format!("_rollback{query}"), order.to_string()).await?;
    if options.output.output != Format::Table {
        return print_value(options.output.output, &done);
    }
    for warning in done["warnings"].as_array().into_iter().flatten() {
        tell(apply::warn(warning));
    }
    let changed = done["changes"].as_array().map(Vec::len).unwrap_or_default();
    if options.dry_run {
        return print_diff(&done);
    }
    match changed {
        0 => line("everything is as it was then; nothing was changed"),
        _ => line(format_args!("revision {}: {}", done["revision"], changes(&done))),
    }
}

fn print_diff(answer: &Value) -> anyhow::Result<()> {
    let words = text(answer, "diff");
    if words.is_empty() {
        tell("there is no difference");
    }
    write(&words)
}

fn revision(text: &str) -> anyhow::Result<u64> {
    let wrong = || Failure::new(Exit::Usage, format!("{text:?} is no revision; `weft history` lists them"));
    Ok(text.parse().map_err(|_| wrong())?)
}

/// `vs/reviews` or `vs/shop/reviews`.
fn named(object: &str, namespace: &str) -> anyhow::Result<(String, String, String)> {
    let parts: Vec<&str> = object.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (*kind, namespace, *name),
        [kind, namespace, name] => (*kind, *namespace, *name),
        _ => {
            let words = format!("{object:?} names no object; write KIND/NAME or KIND/NAMESPACE/NAME");
            return Err(Failure::new(Exit::Usage, words).into());
        }
    };
    Ok((kind.to_ascii_lowercase(), namespace.to_owned(), name.to_owned()))
}

/// `Gateway default/a created, Gateway default/b deleted`; of many the first ones.
fn changes(item: &Value) -> String {
    const SHOWN: usize = 3;
    let all = item["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |change: &Value| {
        let text = |key| text(change, key);
        format!("{} {}/{} {}", text("kind"), text("namespace"), text("name"), text("change"))
    };
    let mut words: Vec<String> = all.iter().take(SHOWN).map(one).collect();
    if all.len() > SHOWN {
        words.push(format!("{} more", all.len() - SHOWN));
    }
    words.join(", ")
}

/// `5m`; of a time in milliseconds.
pub fn age(item: &Value, now: SystemTime) -> String {
    let at = item["at"].as_u64().filter(|at| *at > 0).map(|at| UNIX_EPOCH + Duration::from_millis(at));
    at.map(|at| duration::rough(now.duration_since(at).unwrap_or_default())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_with_or_without_their_namespace() {
        let of = |text: &str| named(text, "default").map(|(kind, namespace, name)| [kind, namespace, name]).ok();
        assert_eq!(of("VS/reviews").unwrap(), ["vs", "default", "reviews"]);
        assert_eq!(of("gateway/shop/a").unwrap(), ["gateway", "shop", "a"]);
        assert_eq!((of("reviews"), of("a/b/c/d")), (None, None));
    }

    #[test]
    fn a_revision_tells_what_it_did() {
        let change = |name: &str| json!({ "kind": "Gateway", "namespace": "shop", "name": name, "change": "created" });
        let item = json!({ "changes": [change("a"), change("b")] });
        assert_eq!(changes(&item), "Gateway shop/a created, Gateway shop/b created");
        let five = ["a", "b", "c", "d", "e"].map(change);
        let item = json!({ "changes": five });
        assert!(changes(&item).ends_with("c created, 2 more"));
    }
}
