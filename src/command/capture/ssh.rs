//! Where this machine's ssh is reached, which capture leaves alone: what sshd itself says where it can be asked, else
//! what its files say (sshd_config(5)), and the sockets that systemd opens for it (systemd.socket(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The usual port.
const SSH: u16 = 22;
/// Where sshd is when it is not on the path.
const USUAL: &str = "/usr/sbin/sshd";
/// The directories of units, those before others first; of the drop-ins of one unit, all count.
const UNITS: [&str; 6] = [
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

/// The usual port first, and then all others.
pub async fn ports() -> Vec<u16> {
    let of_daemon = match asked().await {
        Some(told) => of_settings(&told),
        None => of_files(Path::new("/")),
    };
    let found: BTreeSet<u16> = of_daemon.into_iter().chain(of_sockets(Path::new("/"))).collect();
    std::iter::once(SSH).chain(found.into_iter().filter(|port| *port != SSH)).collect()
}

/// The one by which the operator is here, by what sshd leaves in SSH_CONNECTION.
pub fn of_connection(connection: Option<&str>) -> Option<u16> {
    connection?.split(' ').nth(3)?.parse().ok()
}

/// What `sshd -T` prints: all settings as they are in force. It needs the host's keys, and so root.
async fn asked() -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join("sshd")).chain([USUAL.into()]);
    let program = places.find(|place| place.is_file())?;
    let mut command = Command::new(program);
    command.arg("-T").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of_files(root: &Path) -> Vec<u16> {
    of_settings(&with_included(root, root.join("etc/ssh/sshd_config"), &mut BTreeSet::new()))
}

/// Of `port` and `listenaddress`; who says nothing of either has the usual one.
fn of_settings(text: &str) -> Vec<u16> {
    let ports = text.lines().filter_map(setting).filter_map(|(keyword, value)| match &*keyword {
        "port" => value.parse().ok(),
        "listenaddress" => of_listen_address(value),
        _ => None,
    });
    ports.collect()
}

/// The keyword in lower case, and the first word after it.
fn setting(line: &str) -> Option<(String, &str)> {
    let (keyword, rest) = line.trim().split_once(|c: char| c.is_whitespace() || c == '=')?;
    let value = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    Some((keyword.to_ascii_lowercase(), first_word(value)))
}

fn first_word(text: &str) -> &str {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => text.split_whitespace().next().unwrap_or_default(),
    }
}

/// `host:port`, `[address]:port`; an address alone is at the ports that `port` names.
fn of_listen_address(value: &str) -> Option<u16> {
    let (host, port) = value.rsplit_once(':')?;
    let alone = host.contains(':') && !host.ends_with(']');
    (!alone).then(|| port.parse().ok())?
}

/// A file with those that it includes, each of them once.
fn with_included(root: &Path, path: PathBuf, seen: &mut BTreeSet<PathBuf>) -> String {
    let Ok(text) = fs::read_to_string(&path) else { return String::new() };
    if !seen.insert(path) {
        return String::new();
    }
    let mut whole = String::new();
    for line in text.lines() {
        match setting(line) {
            Some((keyword, _)) if keyword == "include" => {
                let patterns = line.trim().get("include".len()..).unwrap_or_default();
                for file in patterns.split_whitespace().flat_map(|pattern| matching(root, pattern.trim_matches('"'))) {
                    whole += &with_included(root, file, seen);
                }
            }
            _ => whole = whole + line + "\n",
        }
    }
    whole
}

/// The files that a pattern names, whose last part may have wildcards; where it is relative, below /etc/ssh.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new("/etc/ssh").join(pattern);
    let pattern = root.join(pattern.strip_prefix("/").unwrap_or(&pattern));
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|file| is_named(file, name)).collect();
    files.sort();
    files
}

fn is_named(file: &Path, pattern: &str) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| matches(pattern, name))
}

/// Whether a name is one of a pattern with `*` and `?` (glob(7)).
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len()).any(|at| name.get(at..).is_some_and(|name| matches(rest.as_str(), name))),
        Some(wanted) => {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| wanted == '?' || wanted == c) && matches(rest.as_str(), chars.as_str())
        }
    }
}

fn of_sockets(root: &Path) -> Vec<u16> {
    SOCKETS.iter().flat_map(|unit| of_socket(root, unit)).collect()
}

/// A unit's file, and its drop-ins by their names; an empty assignment undoes those before.
fn of_socket(root: &Path, unit: &str) -> Vec<u16> {
    let directories = UNITS.map(|directory| root.join(directory));
    let Some(file) = directories.iter().map(|directory| directory.join(unit)).find(|file| file.is_file()) else {
        return Vec::new();
    };
    let mut dropped_in = BTreeMap::new();
    for directory in directories.iter().rev() {
        let entries = fs::read_dir(directory.join(format!("{unit}.d"))).into_iter().flatten().flatten();
        let files = entries.map(|entry| (entry.file_name(), entry.path()));
        dropped_in.extend(files.filter(|(_, path)| path.extension().is_some_and(|extension| extension == "conf")));
    }
    let mut ports = Vec::new();
    for path in std::iter::once(file).chain(dropped_in.into_values()) {
        let text = fs::read_to_string(path).unwrap_or_default();
        for value in text.lines().filter_map(|line| line.trim().strip_prefix("ListenStream")) {
            match value.trim_start().strip_prefix('=').map(str::trim) {
                Some("") => ports.clear(),
                Some(value) => ports.extend(of_listen_stream(value)),
                None => {}
            }
        }
    }
    ports
}

/// A port, or an address with one; the rest are no ports.
fn of_listen_stream(value: &str) -> Option<u16> {
    value.parse().ok().or_else(|| Some(value.parse::<SocketAddr>().ok()?.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_port_by_which_the_operator_came_is_known() {
        assert_eq!(of_connection(None), None);
        assert_eq!(of_connection(Some("192.0.2.1 50000 192.0.2.2 2222")), Some(2222));
    }

    #[test]
    fn what_sshd_says_of_itself_is_read() {
        let told = "port 2201\nport 2202\naddressfamily any\nlistenaddress [::]:2203\nlistenaddress 0.0.0.0:2204\nusepam yes\n";
        assert_eq!(of_settings(told), [2201, 2202, 2203, 2204]);
    }

    #[test]
    fn the_files_of_sshd_are_read_as_sshd_reads_them() {
        let root = machine(&[
            (
                "etc/ssh/sshd_config",
                "# Port 1\nInclude /etc/ssh/sshd_config.d/*.conf more\nPORT=2201\n Port \"2202\"\nPort x\n\
                 ListenAddress 192.0.2.1\nListenAddress 2001:db8::2203\nListenAddress [2001:db8::1]:2204\n\
                 ListenAddress host.example:2205\nPortal 3\n",
            ),
            ("etc/ssh/sshd_config.d/b.conf", "Port 2207\nInclude b.conf\n"),
            ("etc/ssh/sshd_config.d/a.conf", "Port 2206\n"),
            ("etc/ssh/sshd_config.d/a.conf.bak", "Port 4\n"),
            ("etc/ssh/more", "Port 2208\nInclude more\n"),
        ]);
        let mut found = of_files(root.path());
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [2201, 2202, 2204, 2205, 2206, 2207, 2208]);
        assert!(of_files(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn the_sockets_of_systemd_are_read_with_their_drop_ins() {
        let root = machine(&[
            ("usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\nAccept=no\n"),
            (
                "run/systemd/generator/ssh.socket.d/addresses.conf",
                "[Socket]\nListenStream=\nListenStream=0.0.0.0:2201\n",
            ),
            ("etc/systemd/system/ssh.socket.d/more.conf", "[Socket]\nListenStream = [::]:2202\nListenStream=/run/x\n"),
            ("etc/systemd/system/ssh.socket.d/more.conf.bak", "[Socket]\nListenStream=5\n"),
            ("etc/systemd/system/sshd.socket", "[Socket]\nListenStream=2203\n"),
            ("usr/lib/systemd/system/sshd.socket", "[Socket]\nListenStream=6\n"),
        ]);
        assert_eq!(of_sockets(root.path()), [2201, 2202, 2203]);
        assert!(of_sockets(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn names_match_patterns_as_in_a_shell() {
        assert!(matches("*.conf", "a.conf") && matches("a?c*", "abc") && matches("*", ""));
        assert!(!matches("*.conf", "a.conf.bak") && !matches("a", "ab") && !matches("?", ""));
    }
}
