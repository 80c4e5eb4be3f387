//! The machine: what its packet filter and its routes were before, the rules put in force, and all of it taken back.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::settings::{Backend, Family, Mode, Settings};
use super::{MARK, ROUTING_TABLE, iptables, nftables};
use crate::command::child;

/// What was there before, as far as rules of ours leave something behind that has to be told from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Tables of nftables and the chains in them, by which iptables comes about; unknown where nft is not installed.
    tables: Option<Vec<Table>>,
    /// What of ours is added beside the rules.
    added: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Table {
    /// With its family: `ip nat`.
    name: String,
    chains: Vec<String>,
}

/// Something that is not a rule of the packet filter, and that ip(8) adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The address from which the proxy speaks to programs over IPv6; those of 127.0.0.0/8 are there anyway.
    PassthroughAddress,
    Rule {
        ipv6: bool,
    },
    Route {
        ipv6: bool,
    },
}

pub fn steps(settings: &Settings) -> Vec<Step> {
    let mut steps = Vec::new();
    if settings.ipv6 {
        steps.push(Step::PassthroughAddress);
    }
    if settings.mode == Mode::Tproxy {
        for ipv6 in settings.families().map(|family| family == Family::V6) {
            steps.extend([Step::Rule { ipv6 }, Step::Route { ipv6 }]);
        }
    }
    steps
}

impl Step {
    fn words(self, verb: &str) -> Vec<String> {
        let family = |ipv6: bool| if ipv6 { Family::V6 } else { Family::V4 }.flag();
        let words = match self {
            Self::PassthroughAddress => {
                let nodad = if verb == "add" { " nodad" } else { "" };
                format!("-6 addr {verb} {} dev lo{nodad}", Family::V6.passthrough())
            }
            Self::Rule { ipv6 } => format!("{} rule {verb} fwmark {MARK} lookup {ROUTING_TABLE}", family(ipv6)),
            Self::Route { ipv6 } => format!("{} route {verb} local default dev lo table {ROUTING_TABLE}", family(ipv6)),
        };
        words.split(' ').map(str::to_owned).collect()
    }

    pub fn add(self) -> Vec<String> {
        self.words("add")
    }

    async fn is_there(self) -> anyhow::Result<bool> {
        let family = |ipv6: bool| if ipv6 { Family::V6 } else { Family::V4 }.flag();
        let (words, told) = match self {
            Self::PassthroughAddress => {
                ("-6 -o addr show dev lo".to_owned(), format!(" {} ", Family::V6.passthrough()))
            }
            Self::Rule { ipv6 } => {
                (format!("{} rule show", family(ipv6)), format!("fwmark {MARK:#x} lookup {ROUTING_TABLE}"))
            }
            // The table that has no route is not there, which ip(8) calls an error.
            Self::Route { ipv6 } => (
                format!("{} route show table all", family(ipv6)),
                format!("local default dev lo table {ROUTING_TABLE}"),
            ),
        };
        let words: Vec<&str> = words.split(' ').collect();
        Ok(run("ip", &words, "").await?.contains(&told))
    }
}

/// Reads what is there, for `release` to leave behind; rules of ours that are in force are no part of it.
pub async fn read(settings: &Settings) -> anyhow::Result<Before> {
    let mut added = Vec::new();
    for step in steps(settings) {
        if !step.is_there().await? {
            added.push(step);
        }
    }
    Ok(Before { tables: tables().await?, added })
}

/// Puts the rules in force, in the place of any of ours; on failure nothing of them stays.
pub async fn apply(settings: &Settings, before: &Before) -> anyhow::Result<()> {
    let applied = try_apply(settings, before).await;
    if applied.is_err()
        && let Err(error) = release(before).await
    {
        tracing::error!(error = format!("{error:#}"), "the rest of the rules of capture could not be taken back");
    }
    applied
}

async fn try_apply(settings: &Settings, before: &Before) -> anyhow::Result<()> {
    for step in &before.added {
        if !step.is_there().await? {
            let words = step.add();
            run("ip", &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await?;
        }
    }
    match settings.backend {
        Backend::Nftables => run("nft", &["-f", "-"], &nftables::rules(settings)).await.map(drop),
        Backend::Iptables => {
            // IPv6 first: the control plane is rather reached by IPv4, and a failure then has cut nothing.
            for family in settings.families().collect::<Vec<_>>().into_iter().rev() {
                let saved = run(family.save(), &[], "").await?;
                let rules = iptables::removal(&saved).then(iptables::rules(settings, family));
                restore(family, &rules).await?;
            }
            Ok(())
        }
    }
}

async fn restore(family: Family, rules: &iptables::Rules) -> anyhow::Result<()> {
    run(family.restore(), &["--noflush"], &rules.render()).await.map(drop)
}

/// Takes away all that is ours, whichever settings made it, and what came about by it.
pub async fn release(before: &Before) -> anyhow::Result<()> {
    for family in [Family::V4, Family::V6] {
        if !is_installed(family.save()) {
            continue;
        }
        // IPv6 may be switched off.
        let Ok(saved) = run(family.save(), &[], "").await else { continue };
        let removal = iptables::removal(&saved);
        if !removal.is_empty() {
            restore(family, &removal).await?;
        }
    }
    if let Some(now) = tables().await? {
        if now.iter().any(|table| table.name == nftables::TABLE) {
            run("nft", &["delete", "table", "inet", "weft"], "").await?;
        }
        if let Some(then) = &before.tables {
            tidy(then, &now).await;
        }
    }
    for step in before.added.iter().rev() {
        if step.is_there().await? {
            let words = step.words("del");
            run("ip", &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await?;
        }
    }
    Ok(())
}

/// Chains that iptables makes as it needs them.
const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Takes away tables and chains of iptables that were not there and that nobody uses: nft refuses it for all others.
async fn tidy(then: &[Table], now: &[Table]) {
    for table in now {
        let (family, name) = table.name.split_once(' ').unwrap_or_default();
        if !["ip", "ip6"].contains(&family) || !iptables::TABLES.contains(&name) {
            continue;
        }
        let before = then.iter().find(|before| before.name == table.name);
        for chain in table.chains.iter().filter(|chain| BUILT_IN.contains(&chain.as_str())) {
            if before.is_none_or(|before| !before.chains.contains(chain)) {
                let _ = run("nft", &["delete", "chain", family, name, chain], "").await;
            }
        }
        let is_empty = run("nft", &["list", "table", family, name], "").await.is_ok_and(|listing| is_empty(&listing));
        if before.is_none() && is_empty {
            let _ = run("nft", &["delete", "table", family, name], "").await;
        }
    }
}

/// Whether a listing of a table holds nothing between its braces.
fn is_empty(listing: &str) -> bool {
    let lines = listing.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.count() == 2
}

async fn tables() -> anyhow::Result<Option<Vec<Table>>> {
    if !is_installed("nft") {
        return Ok(None);
    }
    let listing = run("nft", &["list", "ruleset"], "").await?;
    Ok(Some(parse(&listing)))
}

/// Tables, and the chains in them.
fn parse(listing: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in listing.lines() {
        let named = |prefix: &str| line.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(" {"));
        if let Some(name) = named("table ") {
            tables.push(Table { name: name.to_owned(), chains: Vec::new() });
        } else if let Some((chain, table)) = named("\tchain ").zip(tables.last_mut()) {
            table.chains.push(chain.to_owned());
        }
    }
    tables
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// What a program tells; its failure, with what it said of it.
async fn run(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    if !is_installed(program) {
        let package = match program {
            "nft" => "nftables",
            "ip" => "iproute2",
            _ => "iptables",
        };
        bail!("{program} is not installed; install the package {package}, or choose the other --capture");
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Rules that came after the agent was killed would come after they were taken back, too.
    child::tie(&mut command, Signal::SIGKILL);
    let mut child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    // Whoever reads nothing ends early, and says why.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.with_context(|| format!("{program} cannot be waited for"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {}", arguments.join(" "), told.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_read_by_tables_and_chains() {
        let listing = "table ip nat {\n\tchain WEFT_OUTPUT {\n\t}\n\n\tchain OUTPUT {\n\t\tcounter jump WEFT_OUTPUT\n\t}\n}\ntable ip6 raw {\n}\n";
        let tables = parse(listing);
        assert_eq!(tables[0].chains, ["WEFT_OUTPUT", "OUTPUT"]);
        assert_eq!((tables[1].name.as_str(), tables[1].chains.len()), ("ip6 raw", 0));
        assert!(is_empty("# Warning: managed by iptables-nft\ntable ip6 raw {\n}\n") && !is_empty(listing));
    }
}
