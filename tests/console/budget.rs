//! How much a browser has to load.

use std::fs;
use std::path::Path;

use crate::mesh::repository;

const SHELL: u64 = 200 * 1024;
const ALL: u64 = 450 * 1024;

fn dist() -> std::path::PathBuf {
    let dist = repository("web/console/dist");
    assert!(dist.join("index.html").is_file(), "the console is not built: run scripts/build-console");
    dist
}

/// Compressed, as it crosses the wire.
fn gzipped(path: &Path) -> u64 {
    fs::metadata(format!("{}.gz", path.display())).map_or(0, |file| file.len())
}

/// Files below a folder that are no compressed forms of others.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_none_or(|ending| ending != "gz" && ending != "br")).collect()
}

#[test]
fn the_first_page_loads_at_most_200_kilobytes() {
    let dist = dist();
    let page = fs::read_to_string(dist.join("index.html")).unwrap();
    let named = page.split('"').filter(|part| part.starts_with('/'));
    let sizes: Vec<(String, u64)> =
        named.map(|name| (name.to_owned(), gzipped(&dist.join(name.trim_start_matches('/'))))).collect();
    assert!(sizes.iter().any(|(name, size)| name.ends_with(".js") && *size > 0), "no script in {page}");
    let total = sizes.iter().map(|(_, size)| size).sum::<u64>() + gzipped(&dist.join("index.html"));
    println!("the shell: {} KiB", total / 1024);
    assert!(total <= SHELL, "the shell is {total} bytes: {sizes:#?}");
}

#[test]
fn all_of_the_console_is_at_most_450_kilobytes() {
    let total: u64 = files(&dist()).iter().map(|path| gzipped(path)).sum();
    println!("everything: {} KiB", total / 1024);
    assert!(total <= ALL, "the console is {total} bytes");
}

#[test]
fn no_file_is_held_in_another_as_data() {
    let texts = files(&dist()).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "css"));
    let inlined: Vec<_> = texts.filter(|path| fs::read_to_string(path).unwrap().contains("url(data:")).collect();
    assert!(inlined.is_empty(), "the page's policy lets in no data: URL: {inlined:?}");
}
