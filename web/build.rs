//! Writes the table of the console's files, so that the binary carries them. Without a built console the table is
//! empty, and the binary serves a page that says how to build it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = manifest.join("console/dist");
    // The folder has to be there for cargo to notice that something is built into it. Sources that cannot be written
    // have no console built later either.
    let _ = fs::create_dir_all(&dist);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut paths = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &mut paths)?;
    }
    paths.sort();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let mut table = String::from("&[\n");
    for (number, path) in paths.iter().enumerate() {
        table += &row(&dist, path, &out.join(format!("console-{number}")))?;
    }
    table += "]\n";
    fs::write(out.join("console.rs"), table)
}

/// The files that are served by their own name: not their compressed forms, and none that begins with a dot.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if !name.starts_with('.') && !name.ends_with(".br") && !name.ends_with(".gz") {
            paths.push(path);
        }
    }
    Ok(())
}

/// The file's line of the table. What it includes are copies: the console may be built anew while the compiler reads.
fn row(dist: &Path, path: &Path, copy: &Path) -> io::Result<String> {
    let name = path.strip_prefix(dist).unwrap_or(path).to_string_lossy().into_owned();
    let mut hash = DefaultHasher::new();
    fs::read(path)?.hash(&mut hash);
    let plain = included(path, copy)?;
    let compressed = |ending: &str| -> io::Result<String> {
        let path = PathBuf::from(format!("{}.{ending}", path.display()));
        if !path.is_file() {
            return Ok("None".into());
        }
        Ok(format!("Some({})", included(&path, &copy.with_extension(ending))?))
    };
    let (tag, gzip, brotli) = (hash.finish(), compressed("gz")?, compressed("br")?);
    Ok(format!("Asset {{ name: {name:?}, tag: \"{tag:016x}\", plain: {plain}, gzip: {gzip}, brotli: {brotli} }},\n"))
}

fn included(path: &Path, copy: &Path) -> io::Result<String> {
    fs::copy(path, copy)?;
    Ok(format!("include_bytes!({:?})", copy.display().to_string()))
}
