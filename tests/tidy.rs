//! Rules of the repository, held by a test: who may import whom, and what no file may contain.

use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may depend on. A new edge is a decision: write it down in ARCHITECTURE.md too.
const EDGES: [(&str, &[&str]); 10] = [
    ("api", &[]),
    ("runtime", &[]),
    ("store", &[]),
    ("registry", &["api", "runtime", "store"]),
    ("galley", &["api", "runtime", "store", "registry"]),
    ("pilot", &["api", "runtime", "registry", "galley"]),
    ("citadel", &["api", "runtime", "store"]),
    ("mixer", &["api", "runtime", "store", "registry"]),
    ("proxy", &["api", "runtime"]),
    ("web", &["api", "runtime", "store", "registry", "galley", "pilot", "citadel", "mixer"]),
];

const MAX_LINES: usize = 600;
const SKIPPED: [&str; 6] = ["target", ".git", "node_modules", "dist", "seeds", "third_party"];
const PROSE_AND_CODE: [&str; 12] = ["rs", "toml", "md", "yaml", "yml", "sh", "css", "html", "ts", "tsx", "json", "py"];

struct File {
    path: PathBuf,
    name: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    fn is_only_for_tests(&self) -> bool {
        let in_tests = Path::new(&self.name)
            .components()
            .any(|part| ["tests", "tests.rs", "benches", "fuzz"].iter().any(|name| part.as_os_str() == *name));
        in_tests || self.is_declared_for_tests()
    }

    /// Whether the parent module says `#[cfg(test)] mod this;`.
    fn is_declared_for_tests(&self) -> bool {
        let Some((folder, stem)) = self.path.parent().zip(self.path.file_stem()) else { return false };
        let declaration = format!("mod {};", stem.to_string_lossy());
        let parents = [folder.with_extension("rs"), folder.join("lib.rs"), folder.join("main.rs")];
        parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
            let lines: Vec<&str> = text.lines().collect();
            lines.windows(2).any(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with(&declaration))
        })
    }

    /// The lines before the inline test module, numbered from 1. Inline tests come last in a file.
    fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let inline =
            |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
        let end = lines.windows(2).position(inline).unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // A worktree has a file of the name .git.
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else if is_checked(&path)
            && let Ok(text) = fs::read_to_string(&path)
        {
            let name = path.strip_prefix(root).expect("the walk began at the root").display().to_string();
            found.push(File { path, name, text });
        }
    }
}

fn is_checked(path: &Path) -> bool {
    let known = |extension: &std::ffi::OsStr| PROSE_AND_CODE.iter().any(|known| extension == *known);
    path.extension().is_none_or(known) && path.file_name().is_none_or(|name| name != "LICENSE")
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(File::is_rust).collect()
}

/// Fails with everything found, and what to do about it.
fn none(found: Vec<String>, advice: &str) {
    assert!(found.is_empty(), "\n{}\n→ {advice}\n", found.join("\n"));
}

/// Lines of the files that break a rule, as `file:line: text`.
fn lines_where(files: &[File], breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered =
        files.iter().flat_map(|file| (1..).zip(file.text.lines()).map(move |(number, line)| (file, number, line)));
    numbered
        .filter(|(.., line)| breaks(line))
        .map(|(file, number, line)| format!("{}:{number}: {line}", file.name))
        .collect()
}

/// The names below `[dependencies]`, in either spelling.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section == "dependencies]";
            names.extend(section.strip_prefix("dependencies.").map(|name| name.trim_end_matches(']')));
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.push(name.trim().trim_end_matches(".workspace"));
        }
    }
    names
}

#[test]
fn crates_import_only_in_the_agreed_direction() {
    let mut found = Vec::new();
    for (name, allowed) in EDGES {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let ours = |other: &&str| EDGES.iter().any(|(known, _)| known == other);
        let wrong = dependencies(&manifest).into_iter().filter(ours).filter(|other| !allowed.contains(other));
        found.extend(wrong.map(|other| format!("{name}/Cargo.toml: depends on {other}")));
    }
    none(found, "move the code to a crate that may know both, or put the shared type into one that both may import");
}

#[test]
fn every_crate_of_the_workspace_is_in_the_table() {
    let workspace = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let members = members.trim_end_matches(']').split(',').map(|name| name.trim().trim_matches('"'));
    let unknown = members.filter(|member| !EDGES.iter().any(|(known, _)| known == member));
    none(unknown.map(str::to_owned).collect(), "give the crate a row in EDGES, with what it may import");
}

#[test]
fn files_stay_short() {
    let long = rust_files().into_iter().filter(|file| file.text.lines().count() > MAX_LINES);
    none(long.map(|file| file.name).collect(), "split the file along its ideas, one file each (600 lines at most)");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust_files().into_iter().filter(|file| !file.text.starts_with("//! "));
    none(silent.map(|file| file.name).collect(), "open the file with `//!` and one sentence: what it is for");
}

#[test]
fn modules_are_named_files() {
    let named_mod = rust_files().into_iter().filter(|file| file.path.ends_with("mod.rs"));
    none(named_mod.map(|file| file.name).collect(), "rename foo/mod.rs to foo.rs");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_only_for_tests()) {
        let unwraps = file.production_lines().filter(|(_, line)| line.contains(concat!(".unwrap", "()")));
        found.extend(unwraps.map(|(number, line)| format!("{}:{number}: {line}", file.name)));
    }
    none(found, "return the error, or use expect(\"why it always holds\")");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let found = lines_where(&files(), |line| marks.iter().any(|mark| line.contains(mark)));
    none(found, "do it now, or take it out and write it down where work is planned");
}

#[test]
fn whitespace_is_plain() {
    let mut text = files();
    text.retain(|file| !file.name.ends_with("Makefile"));
    let found = lines_where(&text, |line| line.contains('\t') || line.ends_with(' '));
    none(found, "use spaces in place of tabs, and none at the end of a line");
}

#[test]
fn no_file_knows_this_machine_or_a_package_registry() {
    let paths = [concat!("/wo", "rk/"), concat!("/fa", "rm/")];
    let registries = ["debian", "crates", "npmjs", "pypi"];
    let names_path = |line: &str, path: &str| {
        line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|before: char| before.is_ascii_lowercase()))
    };
    let names_registry = |line: &str| {
        line.split("://").skip(1).any(|rest| {
            let host = rest.split(|end: char| !end.is_ascii_alphanumeric() && !".-".contains(end)).next();
            host.is_some_and(|host| registries.iter().any(|registry| host.contains(registry)))
        })
    };
    let found = lines_where(&files(), |line| paths.iter().any(|path| names_path(line, path)) || names_registry(line));
    none(found, "take the path or host out; tools find registries in their own configuration");
}
