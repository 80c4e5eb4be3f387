//! The same bootstrap file for Envoy and for weft, the same bytes sent to both: what comes back, what reaches the
//! upstream and what becomes of the connection must be the same.
//!
//! `bootstraps/` holds the files, `scripts/` what is sent through each of them, `accepted.yaml` the differences that
//! are meant, each with its reason. `DIFFERENTIAL=bootstrap/script` (either may be a pattern with `*`) runs a part.

#![allow(clippy::unwrap_used)]

mod accepted;
mod answer;
mod certificates;
mod client;
mod corpus;
mod http2;
mod observed;
mod proxies;
mod side;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

use accepted::Accepted;
use corpus::{Bootstrap, Corpus};
use observed::Difference;
use proxies::Program;

/// What the suite is for, in numbers: fewer would be a step back.
const LEAST_SCRIPTS: usize = 100;
const LEAST_BOOTSTRAPS: usize = 15;

#[test]
fn weft_does_with_a_bootstrap_what_envoy_does() {
    let corpus = Arc::new(Corpus::read());
    let accepted = Accepted::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut found = runtime.block_on(compare_all(&corpus));
    let run: usize = found.values().map(|outcome| outcome.run).sum();
    let mut told = Vec::new();
    let mut used = vec![false; accepted.entries.len()];
    for (bootstrap, outcome) in &mut found {
        for difference in &mut outcome.differences {
            accepted.take(bootstrap, difference, &mut used);
            if !difference.is_empty() {
                told.push(format!("── {bootstrap} / {}\n{difference}", difference.script));
            }
        }
    }
    println!("{run} scripts run, on {} bootstraps", found.len());
    assert!(told.is_empty(), "\n{}\n{} of {run} differ", told.join("\n"), told.len());
    if corpus.is_whole {
        let unused: Vec<_> = accepted.entries.iter().zip(used).filter(|(_, used)| !used).collect();
        assert!(unused.is_empty(), "accepted differences that are none: {unused:#?}");
    }
}

#[test]
fn the_corpus_is_as_large_as_promised() {
    let corpus = Corpus::read();
    if corpus.is_whole {
        let everywhere = corpus.bootstraps.iter().filter(|bootstrap| bootstrap.tags.iter().any(|tag| tag == "http"));
        assert!(everywhere.count() >= LEAST_BOOTSTRAPS);
        assert!(corpus.scripts.len() >= LEAST_SCRIPTS, "{}", corpus.scripts.len());
    }
}

#[test]
fn accepted_differences_are_told_to_users() {
    let page = std::fs::read_to_string(proxies::repository("docs/envoy-compatibility.md")).unwrap();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for entry in Accepted::read().entries {
        let reason = entry.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(&reason), "docs/envoy-compatibility.md does not say: {reason}");
    }
}

struct Outcome {
    run: usize,
    differences: Vec<Difference>,
}

async fn compare_all(corpus: &Arc<Corpus>) -> BTreeMap<String, Outcome> {
    let certificates = Arc::new(certificates::Certificates::create());
    let places = Arc::new(tokio::sync::Semaphore::new(4));
    let mut tasks = tokio::task::JoinSet::new();
    for bootstrap in corpus.bootstraps.clone() {
        let (corpus, certificates, places) = (Arc::clone(corpus), Arc::clone(&certificates), Arc::clone(&places));
        tasks.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            (bootstrap.name.clone(), compare(&corpus, &bootstrap, &certificates).await)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

async fn compare(corpus: &Corpus, bootstrap: &Bootstrap, certificates: &certificates::Certificates) -> Outcome {
    let scripts: Vec<_> = corpus.scripts_for(bootstrap).collect();
    let (envoy, weft) = tokio::join!(
        side::run(Program::Envoy, bootstrap, &scripts, certificates),
        side::run(Program::Weft, bootstrap, &scripts, certificates)
    );
    let pairs = scripts.iter().zip(envoy.into_iter().zip(weft));
    let differences = pairs.filter_map(|(run, (envoy, weft))| Difference::between(run.name(), &envoy, &weft));
    Outcome { run: scripts.len(), differences: differences.collect() }
}
