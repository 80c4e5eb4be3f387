//! Istio's access policies as a table: who asks for what under which policies, and what becomes of it. Every case goes
//! through weft's proxy and through Envoy, both on what pilot compiles, and is put to the evaluator behind
//! `weft authz check`. All three must say what the table says, and name the same rule.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "../e2e/anyone.rs"]
mod anyone;
mod asked;
mod bypass;
mod certificates;
mod client;
mod compiled;
mod door;
mod forged;
mod judged;
mod providers;
#[path = "../differential/proxies.rs"]
#[allow(dead_code)]
mod proxies;
mod spellings;
mod table;
mod upstream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use certificates::Certificates;
use client::Outcome;
use proxies::{Program, Proxy};
use table::Group;

/// What the table is for, in numbers.
const LEAST_CASES: usize = 600;

/// What a proxy did with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    outcome: Outcome,
    /// The rule that its log names.
    by: Option<String>,
}

#[test]
fn every_case_is_decided_alike_by_weft_by_envoy_and_by_the_evaluator() {
    let groups = table::read();
    let cases: usize = groups.iter().map(|group| group.cases.len()).sum();
    assert!(cases >= LEAST_CASES, "{cases}");
    let certificates = Certificates::create();
    let (envoy, weft) = std::thread::scope(|scope| {
        let run = |program| {
            scope.spawn({
                let (groups, certificates) = (&groups, &certificates);
                move || run(program, groups, certificates)
            })
        };
        let both = (run(Program::Envoy), run(Program::Weft));
        (both.0.join().unwrap(), both.1.join().unwrap())
    });
    let mut wrong = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for (number, case) in group.cases.iter().enumerate() {
            let key = format!("{at}.{number}");
            let said = [("envoy", &envoy[&key]), ("weft", &weft[&key])];
            let mut told: Vec<String> = Vec::new();
            for (who, seen) in said {
                // What is not HTTP leaves no line in the log.
                let by = if case.is_tcp() { case.by() } else { seen.by.clone() };
                if (seen.outcome, &by) != (case.outcome(), &case.by()) {
                    told.push(format!("{who}: {:?} by {:?}", seen.outcome, seen.by));
                }
            }
            told.extend(judged::differs(group, case));
            if !told.is_empty() {
                wrong.push(format!("{}\n  {case:?}\n  {}", group.name, told.join("\n  ")));
            }
        }
    }
    println!("{cases} cases in {} groups", groups.len());
    assert!(wrong.is_empty(), "\n{}\n{} of {cases} are decided otherwise", wrong.join("\n"), wrong.len());
}

/// All cases through one proxy, which has a listener of its own for each group.
fn run(program: Program, groups: &[Group], certificates: &Certificates) -> BTreeMap<String, Seen> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let (http, tcp) = (upstream::http(), upstream::tcp());
    let mut bootstrap = compiled::Bootstrap::new(program, certificates, http, tcp, &log);
    for (at, group) in groups.iter().enumerate() {
        bootstrap.add(group, address(program, at));
    }
    let listens: Vec<_> = (0..groups.len()).map(|at| (address(program, at), table::HTTP_PORT).into()).collect();
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap.text()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _proxy = runtime.block_on(Proxy::start(program, &file, &listens));
    let mut seen = BTreeMap::new();
    let mut logged = 0;
    for (at, group) in groups.iter().enumerate() {
        for (number, case) in group.cases.iter().enumerate() {
            let key = format!("{at}.{number}");
            let outcome = client::ask(address(program, at), case, &key, certificates);
            logged += usize::from(!case.is_tcp());
            seen.insert(key, Seen { outcome, by: None });
        }
    }
    for line in lines(&log, logged) {
        let (key, by) = decided(&line);
        seen.get_mut(key).unwrap().by = by;
    }
    seen
}

/// Each group has an address, so that all may use the same ports.
fn address(program: Program, group: usize) -> IpAddr {
    let side = if program == Program::Envoy { 0 } else { 1 };
    IpAddr::from([127, 40 + side, (std::process::id() % 250) as u8 + 1, group as u8 + 1])
}

/// The log's, once as many are there to their ends as requests were answered.
fn lines(log: &Path, least: usize) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.matches('\n').count() >= least {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < end, "{} of {least} lines were logged", text.lines().count());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line is the case, the details of the answer, and the rule that is in force; `-` is nothing.
fn decided(line: &str) -> (&str, Option<String>) {
    let [key, details, rule] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let denied = details.strip_prefix("rbac_access_denied_matched_policy[").and_then(|rest| rest.strip_suffix(']'));
    let rule = denied.map_or(Some(rule), |name| Some(name).filter(|name| *name != "none"));
    (key, rule.filter(|rule| *rule != "-").map(str::to_owned))
}
