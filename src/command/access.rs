//! `weft access` and `weft audit`: who may do what through the API, and who did.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::duration;
use super::history::age;
use super::output::{Column, Format, OutputOptions, line, print_list, print_value, text};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make, list and revoke the tokens of the API
    #[command(subcommand, after_help = "Example: weft access token list")]
    Token(Token),
    /// Print a link with which one browser signs in, once, within an hour
    #[command(after_help = "Example: weft access setup")]
    Setup(Plain),
    /// Ask whether the token in use may do something
    #[command(after_help = "Example: weft access can write virtualservice -n shop")]
    Can(Can),
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown once
    #[command(after_help = "Example: weft access token create ci --role operator --namespace shop --ttl 90d")]
    Create(Create),
    /// List the tokens
    #[command(after_help = "Example: weft access token list")]
    List(Plain),
    /// Revoke a token; sessions that were begun with it end
    #[command(after_help = "Example: weft access token revoke 3f9c2a8b1d0e")]
    Revoke(Revoke),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Viewer,
    Operator,
    Security,
    Admin,
}

#[derive(Debug, Args)]
pub struct Create {
    /// Who or what it is for
    name: String,
    /// What it is for: to look, to change traffic, to change who may talk to whom, or everything
    #[arg(long, value_enum)]
    role: Role,
    /// A verb that it is narrowed to; may be repeated [default: all of the role]
    #[arg(long = "verb", value_name = "VERB")]
    verbs: Vec<String>,
    /// A kind that it is narrowed to; may be repeated [default: any]
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// A namespace that it is narrowed to; may be repeated [default: any]
    #[arg(short, long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// How long it is valid: at most 366d
    #[arg(long, value_parser = duration::parse)]
    ttl: Duration,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's ID, as `weft access token list` shows it
    id: String,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct Can {
    /// read, write, delete, tap, issue-join-token, …
    verb: String,
    /// The kind of configuration
    kind: Option<String>,
    /// The namespace; without it: in all of the mesh
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    api: ApiOptions,
}

#[derive(Debug, Args)]
pub struct AuditOptions {
    /// Hold every line of the log against the one before it, and exit with 1 if one was changed
    #[arg(long)]
    verify: bool,
    /// Only what this token did
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this: write, delete, issue-certificate, issue-jwt-svid, join, …
    #[arg(long)]
    verb: Option<String>,
    /// Only what has this in its object's name
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// Only refusals of this status: 400, 401, 403, 412, 422, 429, 503; or only what was "done"
    #[arg(long)]
    result: Option<String>,
    /// How many, the newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

const TOKENS: [Column; 6] = [
    ("ID", |item| text(item, "id")),
    ("NAME", |item| text(item, "name")),
    ("ROLE", |item| text(item, "role")),
    ("SCOPES", scopes),
    ("LAST USED", |item| ago(item, "last_used", SystemTime::now())),
    ("EXPIRES", |item| until(item, SystemTime::now())),
];

const ENTRIES: [Column; 6] = [
    ("SEQ", |item| text(item, "seq")),
    ("AGE", |item| age(item, SystemTime::now())),
    ("ACTOR", |item| text(item, "actor")),
    ("VERB", |item| text(item, "verb")),
    ("OBJECT", |item| text(item, "object")),
    ("RESULT", outcome),
];

pub async fn run(verb: Verb, data: DataDir) -> anyhow::Result<()> {
    match verb {
        Verb::Token(Token::Create(options)) => create(options, data).await,
        Verb::Token(Token::List(options)) => {
            let listing = Client::open(&data, &options.api)?.get("access/tokens").await?;
            print_list(options.output.output, &listing, &TOKENS, "there are no tokens")
        }
        Verb::Token(Token::Revoke(options)) => {
            let client = Client::open(&data, &options.api)?;
            client.delete(&format!("access/tokens/{}", encode(&options.id))).await?;
            line(format_args!("token {} revoked", options.id))
        }
        Verb::Setup(options) => setup(options, data).await,
        Verb::Can(options) => can(options, data).await,
    }
}

async fn create(options: Create, data: DataDir) -> anyhow::Result<()> {
    let role = match options.role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Security => "security",
        Role::Admin => "admin",
    };
    let scopes = json!({ "verbs": options.verbs, "kinds": options.kinds, "namespaces": options.namespaces });
    let order = json!({ "name": options.name, "role": role, "scopes": scopes, "ttl_seconds": options.ttl.as_secs() });
    let made = Client::open(&data, &options.api)?.post("access/tokens", order.to_string()).await?;
    match options.output.output {
        Format::Table => line(text(&made, "token")),
        format => print_value(format, &made),
    }
}

async fn setup(options: Plain, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    let made = client.post("_setup", String::new()).await?;
    let url = format!("{}{}", client.base(), text(&made, "path"));
    match options.output.output {
        Format::Table => line(url),
        format => print_value(format, &json!({ "url": url, "life_seconds": made["life_seconds"] })),
    }
}

async fn can(options: Can, data: DataDir) -> anyhow::Result<()> {
    let question = json!({ "verb": options.verb, "kind": options.kind, "namespace": options.namespace });
    let answer = Client::open(&data, &options.api)?.post("_can", question.to_string()).await?;
    match answer["allowed"] == true {
        true => line("yes"),
        false => anyhow::bail!("no: {}", text(&answer, "reason")),
    }
}

pub async fn audit(options: AuditOptions, data: DataDir) -> anyhow::Result<()> {
    let client = Client::open(&data, &options.api)?;
    if options.verify {
        return verify(client.get("audit/_verify").await?, options.output.output);
    }
    let mut path = format!("audit?limit={}", options.limit);
    let filters =
        [("actor", &options.actor), ("verb", &options.verb), ("object", &options.object), ("result", &options.result)];
    for (name, value) in filters {
        if let Some(value) = value {
            path += &format!("&{name}={}", encode(value));
        }
    }
    print_list(options.output.output, &client.get(&path).await?, &ENTRIES, "nothing was written down yet")
}

fn verify(verified: Value, format: Format) -> anyhow::Result<()> {
    if format != Format::Table {
        print_value(format, &verified)?;
    }
    let (entries, head) = (text(&verified, "entries"), text(&verified, "head"));
    match verified["ok"] == true {
        true if format == Format::Table => line(format_args!("{entries} entries, none changed; the last is {head}")),
        true => Ok(()),
        false => {
            let broken = &verified["broken"];
            let words = format!("the audit log was changed: line {}: {}", broken["line"], text(broken, "why"));
            Err(anyhow::anyhow!(words))
        }
    }
}

fn scopes(item: &Value) -> String {
    let list = |name: &str| {
        let words: Vec<&str> =
            item["scopes"][name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!words.is_empty()).then(|| format!("{name}: {}", words.join(",")))
    };
    let words: Vec<String> = ["verbs", "kinds", "namespaces"].into_iter().filter_map(list).collect();
    if words.is_empty() { "all".into() } else { words.join(" ") }
}

fn ago(item: &Value, key: &str, now: SystemTime) -> String {
    let at = item[key].as_u64().map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    let words = |at| format!("{} ago", duration::rough(now.duration_since(at).unwrap_or_default()));
    at.map_or_else(|| "never".into(), words)
}

fn until(item: &Value, now: SystemTime) -> String {
    let Some(seconds) = item["expires"].as_u64() else { return "never".into() };
    match (UNIX_EPOCH + Duration::from_secs(seconds)).duration_since(now) {
        Ok(left) if !left.is_zero() => format!("in {}", duration::rough(left)),
        _ => "expired".into(),
    }
}

fn outcome(item: &Value) -> String {
    let dry = if item["dry_run"] == true { " (dry run)" } else { "" };
    format!("{}{dry}", text(item, "result"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_what_it_is_narrowed_to_and_for_how_long() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let item = json!({ "scopes": { "verbs": [], "kinds": ["Gateway"], "namespaces": ["a", "b"] }, "last_used": 700,
            "expires": 3_400 });
        assert_eq!(scopes(&item), "kinds: Gateway namespaces: a,b");
        assert_eq!((ago(&item, "last_used", now), until(&item, now)), ("5m ago".into(), "in 40m".into()));
        assert_eq!((scopes(&json!({})), ago(&json!({}), "last_used", now)), ("all".into(), "never".into()));
    }
}
