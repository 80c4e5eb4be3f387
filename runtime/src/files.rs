//! Files that must be whole or absent, and that others must not read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Permissions of a file that only its owner reads.
pub const PRIVATE: u32 = 0o600;
/// Permissions of a file that everyone reads.
pub const PUBLIC: u32 = 0o644;

/// Makes a directory, and those above it, that only the owner may enter; tightens it if it was there.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Writes beside the file and renames over it: readers see the old content or the new, also after a crash.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The half-written file is of no use; that it could not be removed adds nothing to the first error.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The rename is durable once the directory is.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Where operating systems keep the roots that they trust.
const ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The operating system's roots in PEM, if it has any; the variable of OpenSSL comes first.
pub fn system_roots() -> Option<Vec<u8>> {
    let told = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    told.into_iter().chain(ROOTS.map(PathBuf::from)).find_map(|place| fs::read(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_stays_private() {
        let dir = std::env::temp_dir().join(format!("weft-files-{}", std::process::id()));
        create_private_dir(&dir).unwrap();
        let path = dir.join("key.pem");
        for content in ["one", "two"] {
            write_atomic(&path, content.as_bytes(), PRIVATE).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        }
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "a temporary file was left behind");
        fs::remove_dir_all(&dir).unwrap();
    }
}
