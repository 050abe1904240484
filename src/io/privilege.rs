//! Least privilege: what the daemon gives up once it stands (`docs/SECURITY.md`).
//!
//! [`give_up`] is called when everything that needs more is done (sockets bound, the control socket given to its group) and
//! before the kernel room's thread starts, because capabilities and landlock belong to a thread and are inherited by those
//! it starts. From then on the process may change the network of its namespace, and no file but its own.

// The caps crate speaks in HashSets; nobody iterates over them.
#![allow(clippy::disallowed_types)]

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::config::Config;

use super::keys::Keys;

/// Where devices that evpnd makes are closed to tenants (`kernel/setup.rs`): nothing else of /proc is written.
const SETTINGS: [&str; 2] = ["/proc/sys/net/ipv6/conf", "/proc/sys/net/ipv4/conf"];

/// The newest landlock whose rights over files are known here (Linux 6.10); an older kernel's are a part of them.
const FILE_RIGHTS: ABI = ABI::V5;

/// What is open to the process since [`give_up`].
#[derive(Debug, Default)]
pub struct Fence {
    readable: Vec<PathBuf>,
    /// An entry of /proc has another inode when it is looked up anew, and a rule of landlock is about an inode: held open, it
    /// keeps the one it has.
    _pinned: Vec<PathFd>,
}

impl Fence {
    /// Says after a reading that was not permitted what evpnd itself gave up; other errors stay as they are.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let denied = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        if self.readable.is_empty() || !error.chain().any(denied) {
            return error;
        }
        let readable: Vec<String> = self.readable.iter().map(|path| path.display().to_string()).collect();
        anyhow!(
            "{error:#}: since its start evpnd has no right over the files of other users and reads only below {}; make the file \
             readable to its user, or restart evpnd where the file has moved",
            readable.join(", ")
        )
    }
}

/// Gives up what a running daemon does not need. `config_path` as it was given.
///
/// # Errors
/// Where capabilities that are not needed cannot be given up.
pub fn give_up(config: &Config, keys: &Keys, config_path: &Path) -> anyhow::Result<Fence> {
    no_new_privileges().context("cannot set no_new_privs")?;
    let (fence, landlock) = match restrict_files(config, keys, config_path) {
        Ok((fence, status)) => (fence, landlock_in_words(&status)),
        Err(error) => (Fence::default(), format!("no landlock ({error})")),
    };
    // A reflector touches no device, and every port was bound before.
    let mut kept = CapsHashSet::new();
    if config.router.vtep.is_some() {
        kept.insert(Capability::CAP_NET_ADMIN);
        // Packet sockets at the ports of bridges: what hosts say of their addresses.
        kept.insert(Capability::CAP_NET_RAW);
    }
    keep_only(&kept).map_err(|error| anyhow!("cannot give up capabilities: {error}"))?;
    let capabilities = if kept.is_empty() { "no capability" } else { "CAP_NET_ADMIN, CAP_NET_RAW" };
    tracing::info!("from here on with {capabilities} and {landlock}");

    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", config_path.display()));
    let again = std::fs::File::open(config_path).map_err(named).and_then(|_| keys.check_files());
    if let Err(error) = again {
        tracing::warn!("a reload will be refused: {:#}", fence.explain(error.into()));
    }
    Ok(fence)
}

/// Where the configuration has passwords: no core dump holds them, and no other process of the same user reads them from our
/// memory (ptrace(2), /proc/PID/mem). Without passwords a core dump is worth more.
pub fn guard_memory(config: &Config) {
    if config.neighbors.iter().any(|neighbor| neighbor.password.is_some()) {
        // SAFETY: prctl(2) with integers; PR_SET_DUMPABLE cannot fail with 0.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    }
}

fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl(2) with integers.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves at most `kept` in every set of the calling thread. Dropping from the bounding set needs CAP_SETPCAP: without it the
/// set stays, which no_new_privs makes harmless.
fn keep_only(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        // By number: a kernel may know more of them than the crate.
        for number in 0..u64::BITS as u8 {
            // SAFETY: prctl(2) with integers.
            let known = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) } >= 0;
            if known && !kept.iter().any(|capability| capability.index() == number) {
                // SAFETY: prctl(2) with integers.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
            }
        }
    }
    // Linux before 4.3 has no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    let permitted = caps::read(None, CapSet::Permitted)?.intersection(kept).copied().collect();
    caps::set(None, CapSet::Effective, &permitted)?;
    caps::set(None, CapSet::Permitted, &permitted)?;
    caps::clear(None, CapSet::Inheritable)
}

fn landlock_in_words(status: &RestrictionStatus) -> String {
    match status.ruleset {
        RulesetStatus::FullyEnforced => "landlock".to_owned(),
        RulesetStatus::PartiallyEnforced => "as much of landlock as this kernel has".to_owned(),
        RulesetStatus::NotEnforced => {
            "no landlock, which this kernel has not (CONFIG_SECURITY_LANDLOCK, lsm=landlock,…)".to_owned()
        }
    }
}

/// Closes the file system but for the directories of the files that the configuration names. By directory, not by file: editors
/// and tools of configuration management put a new file in the old one's place.
fn restrict_files(config: &Config, keys: &Keys, config_path: &Path) -> anyhow::Result<(Fence, RestrictionStatus)> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(FILE_RIGHTS))?;
    // No signal to anybody; abstract sockets are for a service manager only.
    rules = rules.scope(Scope::Signal)?;
    if !std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@")) {
        rules = rules.scope(Scope::AbstractUnixSocket)?;
    }
    let mut rules = rules.create()?;

    let mut readable: Vec<PathBuf> = std::iter::once(config_path).chain(keys.files()).flat_map(directories).collect();
    readable.sort();
    readable.dedup();
    for directory in &readable {
        rules = open(rules, directory, read)?;
    }
    // state.json: written beside it and renamed, set aside where it is broken.
    let keep = read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    rules = open(rules, &config.router.state_directory, keep)?;
    // The socket is removed at the end.
    if let Some(directory) = config.control.socket.parent() {
        rules = open(rules, directory, AccessFs::RemoveFile.into())?;
    }
    let mut pinned = Vec::new();
    for path in SETTINGS.iter().filter(|_| config.router.vtep.is_some()) {
        if let Ok(settings) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(&settings, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate))?;
            pinned.push(settings);
        }
    }
    let status = rules.restrict_self()?;
    let readable = if status.ruleset == RulesetStatus::NotEnforced { Vec::new() } else { readable };
    Ok((Fence { readable, _pinned: pinned }, status))
}

/// The directory of a file, as it is named and as its links lead.
fn directories(path: &Path) -> Vec<PathBuf> {
    let named = std::path::absolute(path).ok();
    let real = std::fs::canonicalize(path).ok();
    named.into_iter().chain(real).filter_map(|path| path.parent().map(Path::to_owned)).collect()
}

/// Opens `directory` for `access`; one that is not there stays closed.
fn open(rules: RulesetCreated, directory: &Path, access: BitFlags<AccessFs>) -> anyhow::Result<RulesetCreated> {
    match PathFd::new(directory) {
        Ok(directory) => Ok(rules.add_rule(PathBeneath::new(directory, access))?),
        Err(_) => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_reached_by_its_name_and_by_what_it_links_to() {
        let top = std::env::temp_dir().join(format!("evpnd-fence-{}", std::process::id()));
        let (real, named) = (top.join("real"), top.join("named"));
        std::fs::create_dir_all(&real).unwrap();
        std::fs::create_dir_all(&named).unwrap();
        std::fs::write(real.join("file"), "").unwrap();
        std::os::unix::fs::symlink(real.join("file"), named.join("file")).unwrap();
        assert_eq!(directories(&named.join("file")), [named, std::fs::canonicalize(real).unwrap()]);
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn only_a_denied_reading_is_explained() {
        let fence = Fence { readable: vec!["/etc/evpnd".into()], _pinned: Vec::new() };
        let error = |kind: io::ErrorKind| anyhow!(io::Error::from(kind)).context("cannot read x");
        let said = format!("{:#}", fence.explain(error(io::ErrorKind::PermissionDenied)));
        assert!(said.starts_with("cannot read x: ") && said.contains("/etc/evpnd"), "{said}");
        let said = format!("{:#}", fence.explain(error(io::ErrorKind::NotFound)));
        assert!(!said.contains("/etc/evpnd"), "{said}");
    }

    /// In a process of its own this would be the end of its privileges; a thread of its own is enough, for they are a thread's.
    #[test]
    fn nothing_is_left_but_what_is_kept() {
        let left = std::thread::spawn(|| {
            let kept = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
            keep_only(&kept).unwrap();
            let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient];
            sets.map(|set| caps::read(None, set).unwrap().into_iter().filter(|capability| !kept.contains(capability)).count())
        });
        assert_eq!(left.join().unwrap(), [0; 4]);
    }
}
