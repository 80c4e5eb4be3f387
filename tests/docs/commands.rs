//! The commands of README.md, of `docs/` and of the examples.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::markdown::{Block, blocks, commands, words};
use crate::mesh::{Mesh, repository, text, until, weft};

/// Commands that are not run here, by how they begin, and why. Those of weft are read by its command line all the same.
const NOT_RUN: [(&str, &str); 17] = [
    ("make ", "it builds, tests or measures what is being tested; make itself says whether there is such a target"),
    ("cargo ", "the same"),
    ("weft control-plane ", "its ports are fixed; tests/e2e/vm runs it with others"),
    ("kubectl ", "it takes a cluster; tests/kubernetes has one"),
    ("weft node-proxy ", "it takes a machine of its own, with its file of workloads; tests/e2e has them"),
    ("weft up --consul ", "it takes a Consul; tests/e2e/platforms.rs has one"),
    ("weft up --kubeconfig ", "it takes a cluster; tests/kubernetes has one"),
    ("weft run --no-register ", "its address is one that Consul tells of; tests/e2e/platforms.rs runs such a sidecar"),
    ("weft up --ca-dir ", "it takes files of an authority; tests/e2e/authorities.rs has them"),
    ("weft run --identity-token ", "it takes a token of a platform; tests/e2e/attested.rs has one"),
    ("weft ca renew-root", "it takes a root that expired; tests/e2e/vm/expired_root.rs has one"),
    ("curl -d ip=", "it asks that control plane; web/src/registration/tests.rs sends it"),
    ("curl -d revision=", "the same"),
    ("curl -X DELETE http://127.0.0.1:8080/", "the same"),
    ("weft join ", "it takes a machine of its own; tests/e2e/vm gives it one"),
    ("curl http://reviews.default:9080/", "it is for a machine with capture; tests/e2e/vm/capture.rs asks it there"),
    ("dig ", "it asks an agent's DNS; tests/e2e/vm/dns.rs does"),
];

/// Words that stand for something: what is put in their place.
const STAND_INS: [(&str, &str); 9] = [
    ("ROLE", "viewer"),
    ("DURATION", "1h"),
    ("REV..REV", "1..2"),
    ("[SERVICE] [--by-platform]", "reviews --by-platform"),
    ("ADDR:PORT", "127.0.0.1:0"),
    ("NAME", "name"),
    ("FILE", "file.yaml"),
    ("ID", "id"),
    ("…", "X"),
];

fn documents() -> Vec<PathBuf> {
    let folder = fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = folder.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    found.sort();
    // The tour of README.md ends with the mesh.
    found.extend(["CONTRIBUTING.md", "examples/README.md", "README.md"].map(repository));
    found
}

/// A mesh, and a folder in which the commands run, with what they name.
struct Place {
    mesh: Mesh,
    folder: tempfile::TempDir,
    started: Vec<Child>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(repository("examples"), folder.path().join("examples")).unwrap();
        Self { mesh: Mesh::start(&[]), folder, started: Vec::new() }
    }

    fn shell(&self, line: &str) -> Command {
        let gateway = format!("http://{}", self.mesh.gateway());
        let line = line.replace("GATEWAY", &gateway).replace("http://127.0.10.11:15088", &self.outbound());
        let mut command = Command::new("sh");
        let programs = Path::new(weft()).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        command.arg("-c").arg(line).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", path).env("WEFT_DATA_DIR", self.mesh.path());
        command
    }

    /// The outbound proxy of a workload.
    fn outbound(&self) -> String {
        self.mesh.workload("productpage-v1")["http_proxy"].as_str().unwrap().to_owned()
    }

    fn run(&self, line: &str) -> Output {
        self.shell(line).output().unwrap()
    }

    /// Starts what runs until it is stopped, and waits for its service.
    fn start(&mut self, line: &str) {
        let child = self.shell(&format!("exec {line}")).stdout(Stdio::null()).spawn().unwrap();
        self.started.push(child);
        let asked = "curl -sS -f -x http://127.0.10.11:15088 http://hello:9080/";
        until("an answer of hello", Duration::from_secs(60), || self.run(asked).status.success());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

#[test]
fn every_command_of_the_documents_works() {
    let mut place = Place::new();
    let (mut ran, mut failed) = (0, Vec::new());
    let mut unused: Vec<&str> = NOT_RUN.iter().map(|(begins, _)| *begins).collect();
    for document in documents() {
        let name = document.strip_prefix(repository("")).unwrap().display().to_string();
        let told = fs::read_to_string(&document).unwrap();
        let late: Vec<String> = words(&told).into_iter().filter(|word| word.starts_with("curl ")).collect();
        for block in blocks(&told) {
            if is_configuration(&block) {
                fs::write(place.folder.path().join("group.yaml"), &block.text).unwrap();
                continue;
            }
            for (number, line) in commands(&block) {
                let line = line.as_str();
                if let Some((begins, _)) = NOT_RUN.iter().find(|(begins, _)| line.starts_with(begins)) {
                    unused.retain(|known| known != begins);
                    failed.extend(misread(line).map(|words| format!("{name}:{number}: {line}\n{words}")));
                    continue;
                }
                if line == "weft down" {
                    // What the text below speaks of is asked before the mesh ends.
                    let asked = late.iter().map(|word| (word, place.run(&format!("{word} -sS -f"))));
                    failed.extend(
                        asked
                            .filter(|(_, output)| !output.status.success())
                            .map(|(word, output)| format!("{name}: {word}\n{}", text(&output))),
                    );
                }
                ran += 1;
                if line.starts_with("weft run ") {
                    place.start(line);
                    continue;
                }
                let output = place.run(line);
                if !output.status.success() {
                    failed.push(format!("{name}:{number}: {line}\n{}", text(&output)));
                }
            }
        }
    }
    println!("{ran} commands ran");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(unused.is_empty(), "no document has these any more; take them off the list: {unused:?}");
    assert!(ran >= 12, "{ran} commands are fewer than the documents had");
}

/// YAML, a table or a drawing, and no commands.
fn is_configuration(block: &Block) -> bool {
    const COMMANDS: [&str; 7] = ["weft", "curl", "make", "cargo", "export", "dig", "sh"];
    let first = block.text.split_whitespace().next().unwrap_or_default();
    !COMMANDS.contains(&first)
}

/// What is wrong with a command that is not run: a target of make that is none, words that weft does not take.
fn misread(line: &str) -> Option<String> {
    let output = match line.split_once(' ')? {
        ("make", target) => {
            let target = target.split_whitespace().next().unwrap_or_default();
            Command::new("make").args(["-n", target]).current_dir(repository("")).output().unwrap()
        }
        ("weft", _) => help(line),
        _ => return None,
    };
    (!output.status.success()).then(|| text(&output))
}

/// The help of a command shows only if all words before are known.
fn help(line: &str) -> Output {
    let line = STAND_INS.iter().fold(line.to_owned(), |line, (word, value)| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_word = word.contains([' ', '…', ':', '.']) || words.contains(word);
        if is_word { line.replace(word, value) } else { line }
    });
    let line = if line.ends_with(" -f") { line + " file.yaml" } else { line };
    // What comes behind is another program's.
    let own = line.split(" -- ").next().unwrap_or_default().replace('\'', "");
    let words = own.trim_start_matches("weft ").split_whitespace();
    Command::new(weft()).args(words).arg("--help").stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_command_that_the_text_speaks_of_is_one() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let told = fs::read_to_string(&document).unwrap();
        for word in words(&told).into_iter().filter(|word| word.starts_with("weft ")) {
            count += 1;
            let output = help(&word);
            if !output.status.success() {
                wrong.push(format!("{}: {word}\n{}", document.display(), text(&output)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 20, "{count} commands are fewer than the documents had");
}
