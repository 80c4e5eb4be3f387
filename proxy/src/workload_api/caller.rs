//! Who is at the other end of a Unix socket: its user as of connect(2), the file that it runs and its unit as of when
//! the connection was accepted. What the process becomes later makes no difference to the connections it has. It is held
//! by a descriptor of its directory in /proc, found by the socket's pidfd (Linux 6.5), so that a process that takes its
//! number later is never taken for it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::UnixStream;

/// The other end of a connection.
#[derive(Debug)]
pub struct Caller {
    pub uid: u32,
    process: Option<Process>,
    executable: Option<FileId>,
    unit: Option<String>,
}

#[derive(Debug)]
struct Process {
    pid: i32,
    /// `/proc/PID`, which names nobody once the process is gone.
    directory: File,
    /// Where the kernel gives one.
    pidfd: Option<OwnedFd>,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl Caller {
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        let process = match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(pidfd) => Process::of_pidfd(pidfd),
            // An older kernel has the number only.
            Err(Errno::ENOPROTOOPT) => peer.pid().and_then(|pid| Process::open(pid, None)),
            // It is gone already.
            Err(_) => None,
        };
        let executable = process.as_ref().and_then(Process::executable);
        let unit = process.as_ref().and_then(Process::unit);
        Ok(Self { uid: peer.uid(), process, executable, unit })
    }

    #[cfg(test)]
    pub(super) fn user(uid: u32) -> Self {
        Self { uid, process: None, executable: None, unit: None }
    }

    /// The file that it ran. Names do not matter: in a mount namespace of its own, a program may have any.
    pub fn executable(&self) -> Option<FileId> {
        self.executable
    }

    /// The systemd unit that it belonged to.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Whether it still is the process that connected.
    pub fn is_there(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_there)
    }
}

impl Process {
    fn of_pidfd(pidfd: OwnedFd) -> Option<Self> {
        let process = Self::open(pid_of(&pidfd)?, Some(pidfd))?;
        // The directory was opened by number: it is the right one if the process is still there now.
        process.is_there().then_some(process)
    }

    fn open(pid: i32, pidfd: Option<OwnedFd>) -> Option<Self> {
        Some(Self { pid, directory: File::open(format!("/proc/{pid}")).ok()?, pidfd })
    }

    fn is_there(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => pid_of(pidfd) == Some(self.pid),
            None => fs::read(self.place("stat")).is_ok(),
        }
    }

    fn executable(&self) -> Option<FileId> {
        let file = fs::metadata(self.place("exe")).ok()?;
        self.is_there().then(|| FileId::of(&file))
    }

    fn unit(&self) -> Option<String> {
        let groups = fs::read_to_string(self.place("cgroup")).ok()?;
        self.is_there().then(|| unit(&groups))?
    }

    fn place(&self, file: &str) -> String {
        format!("/proc/self/fd/{}/{file}", self.directory.as_raw_fd())
    }
}

impl FileId {
    pub fn of(file: &fs::Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

/// The process of a pidfd (proc_pid_fdinfo(5)); -1 stands for one that ended.
fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = told.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0)
}

/// The system's unit in `/proc/PID/cgroup`: the outermost part that is no slice. What is below a user's own manager is
/// the user's word, so its unit is that manager.
fn unit(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        matches!(controllers, "" | "name=systemd").then_some(path)
    })?;
    let first = path.split('/').filter(|part| !part.is_empty()).find(|part| !part.ends_with(".slice"))?;
    let is_unit = [".service", ".scope"].iter().any(|kind| first.ends_with(kind));
    is_unit.then(|| first.to_owned())
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        match &self.process {
            Some(process) => write!(f, ", process {}", process.pid),
            None => f.write_str(", a process that ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that connects, and then does something else.
    fn connects(path: &Path, then: &str) -> Child {
        let script = "import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); ";
        Command::new("python3")
            .args(["-c", &(script.to_owned() + then), path.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[tokio::test]
    async fn a_caller_is_known_by_its_user_and_by_the_file_that_it_runs() {
        let (one, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&one).unwrap();
        assert_eq!(caller.uid, nix::unistd::getuid().as_raw());
        let own = FileId::of(&fs::metadata(std::env::current_exe().unwrap()).unwrap());
        assert_eq!(caller.executable(), Some(own));
        assert_ne!(caller.executable(), Some(FileId::of(&fs::metadata("/bin/sh").unwrap())));
        assert!(caller.is_there());
        assert!(caller.to_string().contains(&std::process::id().to_string()), "{caller}");
    }

    #[tokio::test]
    async fn a_process_that_ended_is_nobody_whoever_has_its_number_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let mut child = connects(&path, "sys.stdin.read()");
        let (stream, _) = listener.accept().await.unwrap();
        let caller = Caller::of(&stream).unwrap();
        assert!(caller.is_there() && caller.executable().is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!caller.is_there());
        // Whoever was gone before is known by its user at most.
        let mut child = connects(&path, "pass");
        child.wait().unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let caller = Caller::of(&stream).unwrap();
        assert!(!caller.is_there() && caller.executable().is_none() && caller.unit().is_none());
    }

    #[tokio::test]
    async fn a_process_is_what_it_was_when_it_connected_whatever_it_runs_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let then = "s.set_inheritable(True); sys.stdin.readline(); os.execv('/bin/sh', ['sh', '-c', 'echo; read x'])";
        let mut child = connects(&path, then);
        let (stream, _) = listener.accept().await.unwrap();
        let caller = Caller::of(&stream).unwrap();
        let file = format!("/proc/{}/exe", child.id());
        let exe = || FileId::of(&fs::metadata(&file).unwrap());
        let python = exe();
        assert_eq!(caller.executable(), Some(python));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        assert_ne!(exe(), python, "it is a shell now");
        assert!(caller.is_there());
        assert_eq!(caller.executable(), Some(python));
        drop(stdin);
        child.wait().unwrap();
    }

    /// A group of processes such as systemd makes for a unit, and the slices that it is in.
    struct Group(Vec<std::path::PathBuf>);

    impl Group {
        /// In the hierarchy that systemd itself would use: version 1's of that name, or else version 2. `None` without
        /// leave to make one.
        fn make(path: &str) -> Option<Self> {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let at = |wanted: &dyn Fn(&str, &str) -> bool| {
                mounts.lines().find_map(|line| {
                    let [_, place, kind, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
                    wanted(kind, options).then(|| Path::new(place).to_owned())
                })
            };
            let own = at(&|kind, options| kind == "cgroup" && options.split(',').any(|one| one == "name=systemd"));
            let mut place = own.or_else(|| at(&|kind, _| kind == "cgroup2"))?;
            let mut made = Vec::new();
            for part in path.split('/') {
                place = place.join(part);
                match fs::create_dir(&place) {
                    Ok(()) => made.push(place.clone()),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(_) => return None,
                }
            }
            Some(Self(made))
        }

        /// Moves a process into it.
        fn take(&self, process: &Child) {
            fs::write(self.0.last().unwrap().join("cgroup.procs"), process.id().to_string()).unwrap();
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            for place in self.0.iter().rev() {
                let _ = fs::remove_dir(place);
            }
        }
    }

    #[tokio::test]
    async fn a_caller_is_of_the_unit_whose_group_it_was_in_when_it_connected() {
        let slice = format!("weft{}.slice", std::process::id());
        let group = |path: &str| Group::make(&format!("{slice}/{path}"));
        let Some(reviews) = group("reviews.service") else {
            assert!(!nix::unistd::geteuid().is_root(), "root can make groups of processes");
            eprintln!("skipped: groups of processes are root's");
            return;
        };
        let others = [("reviews.service/worker", "reviews.service"), ("other.service", "other.service")]
            .map(|(path, unit)| (group(path).unwrap(), unit));
        let of_user = group("user@1000.service/app.slice/reviews.service").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        // Waits to be moved, connects, and stays.
        let script = "import socket,sys; sys.stdin.readline(); s=socket.socket(socket.AF_UNIX); \
                      s.connect(sys.argv[1]); sys.stdin.read()";
        let start = || {
            let mut python = Command::new("python3");
            python.args(["-c", script, path.to_str().unwrap()]).stdin(Stdio::piped()).spawn().unwrap()
        };
        let is_reviews = |caller: &Caller| {
            let of = super::super::Selectors { units: vec!["reviews.service".into()], ..Default::default() };
            super::super::Selectors { users: vec![caller.uid], ..of }.fit(caller)
        };
        for (group, unit) in [(&reviews, "reviews.service"), (&of_user, "user@1000.service")]
            .into_iter()
            .chain(others.iter().map(|(group, unit)| (group, *unit)))
        {
            let mut child = start();
            group.take(&child);
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let caller = Caller::of(&stream).unwrap();
            assert_eq!(caller.unit(), Some(unit));
            assert_eq!(is_reviews(&caller), unit == "reviews.service", "{unit}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // It is moved too late, and is the same user's.
        let mut child = start();
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let caller = Caller::of(&stream).unwrap();
        reviews.take(&child);
        assert!(!is_reviews(&caller) && caller.is_there());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_unit_is_the_systems_not_one_that_a_user_made() {
        let told = |groups: &str| unit(groups);
        assert_eq!(told("0::/system.slice/reviews.service\n").as_deref(), Some("reviews.service"));
        assert_eq!(told("0::/system.slice/reviews.service/worker\n").as_deref(), Some("reviews.service"));
        assert_eq!(
            told("0::/user.slice/user-1000.slice/user@1000.service/app.slice/reviews.service").as_deref(),
            Some("user@1000.service")
        );
        let first = "12:pids:/x.service\n1:name=systemd:/system.slice/system-getty.slice/a@b.service\n";
        assert_eq!(told(first).as_deref(), Some("a@b.service"));
        for none in ["", "0::/", "0::/../reviews.service", "0::/user.slice", "garbage", "5:cpu:/reviews.service"] {
            assert_eq!(told(none), None, "{none}");
        }
    }
}
