//! Network namespaces, and the user namespace that lets somebody without root make them.
//!
//! A namespace here is an open file: it lives as long as the file does, so a lab that is killed leaves nothing behind.
//! [`Namespace::pin`] gives it a name in the file system as `ip netns add` would. Everything is blocking: whatever must
//! happen inside a namespace happens in a scoped thread that entered it and ends there ([`Namespace::run`]); a socket
//! opened there stays in its namespace and may be used from any thread afterwards.
//!
//! Read `links.rs` next.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::failed;
use super::links::Links;

/// Where `ip netns` keeps its names.
pub const NETNS_DIRECTORY: &str = "/run/netns";

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes a new namespace with `lo` up. Needs CAP_SYS_ADMIN in the user namespace the caller is in.
    pub fn create() -> io::Result<Self> {
        let made = in_thread(|| -> io::Result<File> {
            unshare(libc::CLONE_NEWNET).map_err(|e| failed("make a network namespace", e))?;
            File::open("/proc/thread-self/ns/net")
        })??;
        let namespace = Self { file: made };
        Links::open(&namespace)?.set_up("lo")?;
        Ok(namespace)
    }

    /// Opens one by its path: a name under [`NETNS_DIRECTORY`] or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).map_err(|e| failed(format_args!("open namespace {}", path.display()), e))?;
        Ok(Self { file })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Runs `work` inside the namespace, in a thread of its own, and waits for it. A panic of `work` goes on here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            setns(self.file.as_fd(), libc::CLONE_NEWNET).map_err(|e| failed("enter a network namespace", e))?;
            Ok(work())
        })?
    }

    /// Makes `command` start inside the namespace. The child itself enters it, so the parent may be any thread.
    pub fn enter_on_spawn(&self, command: &mut Command) -> io::Result<()> {
        let file = self.file.try_clone()?;
        // SAFETY: the closure only calls setns(2), which is async-signal-safe, on a descriptor that it owns.
        unsafe {
            command.pre_exec(move || setns(file.as_fd(), libc::CLONE_NEWNET));
        }
        Ok(())
    }

    /// Writes one value below `/proc/sys/net` of this namespace, such as `ipv6/conf/eth0/accept_ra`.
    /// A key that this kernel does not have is left alone: it has not the feature that the key would turn off.
    pub fn set_sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        match self.run(|| fs::write(&path, value))? {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(format_args!("write {value} to {}", path.display()), e)),
            _ => Ok(()),
        }
    }

    /// Gives the namespace a name: a bind mount at `directory/name`, which holds it until [`unpin`].
    pub fn pin(&self, directory: &Path, name: &str) -> io::Result<PathBuf> {
        let path = directory.join(name);
        let context = |e| failed(format_args!("name a namespace {}", path.display()), e);
        fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(context)?;
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        if let Err(e) = mount(Path::new(&source), &path, "none", libc::MS_BIND) {
            let _ = fs::remove_file(&path);
            return Err(context(e));
        }
        Ok(path)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes a name given by [`Namespace::pin`] away again. The namespace goes when nothing else holds it.
pub fn unpin(path: &Path) -> io::Result<()> {
    unmount(path)?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(format_args!("remove {}", path.display()), e)),
        _ => Ok(()),
    }
}

/// Unmounts what is mounted at `path`; nothing there is fine.
pub fn unmount(path: &Path) -> io::Result<()> {
    let target = c_path(path)?;
    // SAFETY: a valid C string; umount2 has no other memory to touch.
    let result = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    let error = io::Error::last_os_error();
    // EINVAL: not a mount point (any more), seen from here. EPERM: not ours to unmount, so not mounted by us here.
    if result == 0 || matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::EPERM)) {
        return Ok(());
    }
    Err(failed(format_args!("unmount {}", path.display()), error))
}

/// Makes [`NETNS_DIRECTORY`] ready for names just as `ip netns add` does: a shared mount of its own, so that names made
/// and removed by either side are seen by both.
pub fn prepare_netns_directory() -> io::Result<PathBuf> {
    let directory = PathBuf::from(NETNS_DIRECTORY);
    fs::create_dir_all(&directory).map_err(|e| failed(format_args!("make {NETNS_DIRECTORY}"), e))?;
    let share = || mount(Path::new("none"), &directory, "none", libc::MS_SHARED | libc::MS_REC);
    match share() {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => mount(&directory, &directory, "none", libc::MS_BIND | libc::MS_REC)
            .and_then(|()| share())
            .map_err(|e| failed(format_args!("share {NETNS_DIRECTORY}"), e))?,
        other => other.map_err(|e| failed(format_args!("share {NETNS_DIRECTORY}"), e))?,
    }
    Ok(directory)
}

/// Puts a file system in memory over `directory`, seen only in the caller's mount namespace.
pub fn mount_tmpfs(directory: &Path) -> io::Result<()> {
    mount(Path::new("tmpfs"), directory, "tmpfs", 0).map_err(|e| failed(format_args!("mount over {}", directory.display()), e))
}

/// Whether the caller has what a lab needs right here: CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN.
pub fn is_privileged() -> bool {
    const NEEDED: u64 = 1 << 12 | 1 << 13 | 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    effective & NEEDED == NEEDED
}

/// Moves the calling process into a new user namespace in which it is root, with network and mount namespaces of its
/// own. The process must have one thread (user_namespaces(7)). The error says in words what may forbid it.
pub fn enter_user_namespace() -> io::Result<()> {
    // SAFETY: these two only return numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS).map_err(|e| {
        let hint = match e.raw_os_error() {
            Some(libc::EINVAL) => "the process has more than one thread, or this kernel has no user namespaces",
            Some(libc::ENOSPC) => "sysctl user.max_user_namespaces is used up or 0",
            _ => {
                "run it as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), \
                 kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)"
            }
        };
        io::Error::new(e.kind(), format!("cannot make a user namespace ({e}): {hint}"))
    })?;
    let write = |file: &str, text: String| fs::write(file, text).map_err(|e| failed(format_args!("write {file}"), e));
    // user_namespaces(7): setgroups must be denied before an unprivileged process may map its group.
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Enters the namespaces of another process: its user and mount namespaces. For `lab exec` without root.
/// The process must have one thread.
pub fn enter_process(pid: u32) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let (user, mounts) = (open("user")?, open("mnt")?);
    setns(user.as_fd(), libc::CLONE_NEWUSER).map_err(|e| failed("enter the lab's user namespace", e))?;
    setns(mounts.as_fd(), libc::CLONE_NEWNS).map_err(|e| failed("enter the lab's mount namespace", e))
}

/// Gives the calling process a host name of its own, where it may: a daemon tells it to its neighbors. Async-signal-safe.
pub fn set_host_name(name: &str) {
    if unshare(libc::CLONE_NEWUTS).is_ok() {
        // SAFETY: the pointer and the length are those of `name`.
        unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    }
}

/// Replaces the calling process by `command` inside `namespace`, with `/sys` showing that namespace's devices and the
/// node's name as host name. Returns only when it failed.
pub fn exec_inside(namespace: &Namespace, node: &str, command: &mut Command) -> io::Error {
    let enter = || -> io::Result<()> {
        setns(namespace.as_fd(), libc::CLONE_NEWNET)?;
        unshare(libc::CLONE_NEWNS)?;
        mount(Path::new("none"), Path::new("/"), "none", libc::MS_SLAVE | libc::MS_REC)
    };
    if let Err(e) = enter() {
        return failed("enter the namespace", e);
    }
    set_host_name(node);
    // /sys/class/net shows the namespace it was mounted in. Not every user namespace may mount it: then it stays.
    let _ = mount(Path::new("sysfs"), Path::new("/sys"), "sysfs", 0);
    command.exec()
}

/// Runs `work` in a thread of its own and waits; a panic goes on in the caller.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let handle = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        Ok(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn setns(fd: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: setns(2) takes two integers and touches no memory of ours.
    if unsafe { libc::setns(fd.as_raw_fd(), kind) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare(2) takes one integer and touches no memory of ours.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mount(source: &Path, target: &Path, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let kind = CString::new(kind)?;
    // SAFETY: three valid C strings that outlive the call, and no data.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
