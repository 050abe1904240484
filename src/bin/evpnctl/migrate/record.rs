//! What must outlive an interrupted run, and what `--undo` needs: how each device was before. One JSON file in the state directory of
//! the daemon, written whole before anything is changed.
//!
//! That directory belongs to the daemon's own user, and this runs as root: a link in it is not followed, so that nobody who has taken
//! the daemon over has root write elsewhere.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use evpnd::base::Vni;
use serde::{Deserialize, Serialize};

use super::fixed::{Neighbor, Row};

/// A device as it was before it was converted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Its name.
    pub device: String,
    /// The group that it flooded to, or the one VTEP.
    pub group: Option<IpAddr>,
    /// The interface on which the group was joined.
    pub underlay: Option<String>,
    /// It learned from tunnelled frames.
    pub learning: bool,
    /// Its bridge port learned.
    pub port_learning: bool,
    /// Its bridge port answered ARP and ND.
    pub suppression: bool,
    /// It had a local address.
    pub local: Option<IpAddr>,
    /// The VTEPs of its flood list that somebody wrote.
    pub flood: Vec<IpAddr>,
    /// The MACs that somebody wrote, and where they led.
    pub fixed: Vec<Row>,
    /// The neighbours.
    #[serde(default)]
    pub neighbors: Vec<Neighbor>,
    /// It was in no bridge.
    #[serde(default)]
    pub bare: bool,
}

/// One VNI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub before: Before,
    /// The device has been taken off its group, which this host may still be in.
    #[serde(default)]
    pub leaving: bool,
    /// A step back to beside hosts without EVPN is being taken.
    #[serde(default)]
    pub stepping: bool,
    /// The device is being given back: what it was before is not all in place.
    #[serde(default)]
    pub restoring: bool,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub vnis: BTreeMap<Vni, Entry>,
}

const FILE: &str = "migrate.json";

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

impl Record {
    /// # Errors
    /// In words, where there is a file and it cannot be read: without it nothing can be undone.
    pub(super) fn load(directory: &Path) -> Result<Self, String> {
        let path = path(directory);
        let read = || -> io::Result<String> {
            let mut text = String::new();
            open(OpenOptions::new().read(true), &path)?.read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => parse(&text).map_err(|error| {
                format!("{} is broken ({error}): it says how devices were before; restore it, or move it away where nothing is to be undone", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {}; be root", path.display(), words(&error))),
        }
    }

    /// # Errors
    /// In words.
    pub(super) fn save(&self, directory: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        replace(&path(directory), &text)
    }
}

/// The names in it become words of commands.
fn parse(text: &str) -> Result<Record, String> {
    let record: Record = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let before = || record.vnis.values().map(|entry| &entry.before);
    let names = before().flat_map(|before| [Some(&before.device), before.underlay.as_ref()]).flatten();
    let vias = before().flat_map(|before| before.fixed.iter().filter_map(|row| row.via.as_ref()));
    if let Some(name) = names.chain(vias).find(|name| !is_interface_name(name)) {
        return Err(format!("{name:?} is no name of an interface"));
    }
    Ok(record)
}

/// Whether the kernel would take it (`dev_valid_name`: at most 15 octets, no space, slash or colon), and `ip` not for an option.
fn is_interface_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    (1..16).contains(&name.len()) && name != "." && name != ".." && !name.starts_with('-') && !name.contains(odd)
}

/// Opens a file of the state directory: not through a link, and without waiting where it is a pipe.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What is wrong, where the words of the system would lead astray.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ELOOP) => "it is a symbolic link, which is not followed here: remove it".to_owned(),
        _ => error.to_string(),
    }
}

/// Held from before anything is looked at until all is done: two runs would each write what they knew of this file and of the
/// configuration before the other's, and each takes the devices by which the other stays in a group for left over. It ends with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

const LOCK: &str = "migrate.lock";

impl Lock {
    /// # Errors
    /// In words, where another run has it.
    pub(super) fn take(directory: &Path) -> Result<Self, String> {
        let path = directory.join(LOCK);
        let failed = |error: io::Error| {
            format!("cannot lock {}: {}; be root, and see that its directory is there", path.display(), words(&error))
        };
        let file = open(OpenOptions::new().create(true).truncate(false).write(true), &path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err("another evpnctl migrate runs on this host: nothing was done; ask again when it has ended".to_owned())
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Writes a file whole or not at all, and waits until it would outlive a loss of power. Owner and mode of one that stands are kept.
/// Where it is a link, what that leads to is replaced: only for directories of root's.
///
/// # Errors
/// In words.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), String> {
    replace(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), text)
}

/// The same; a link in its place is replaced itself.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let fresh = path.with_file_name(format!("{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let write = || {
        // Left over, or somebody's link.
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        if let Some(old) = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file) {
            file.set_permissions(PermissionsExt::from_mode(old.mode() & 0o777))?;
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        // The new name, too.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        format!("cannot write {}: {error}; be root, and see that its directory may be written", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory as the daemon's user could have left it.
    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("evpnctl-record-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    fn record() -> Record {
        let before = Before { device: "vxlan100".to_owned(), ..Before::default() };
        Record { vnis: BTreeMap::from([(Vni::new(100).unwrap(), Entry { before, ..Entry::default() })]) }
    }

    #[test]
    fn a_link_in_the_state_directory_leads_root_nowhere() {
        let directory = directory("links");
        let victim = directory.join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = |name: &str| {
            let _ = std::fs::remove_file(directory.join(name));
            std::os::unix::fs::symlink(&victim, directory.join(name)).unwrap();
        };
        let untouched = || assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");

        link("migrate.json.new");
        record().save(&directory).unwrap();
        untouched();
        assert!(std::fs::symlink_metadata(path(&directory)).unwrap().is_file());
        assert_eq!(Record::load(&directory), Ok(record()));

        link("migrate.json");
        assert!(Record::load(&directory).unwrap_err().contains("symbolic link"), "what it leads to is not read either");
        record().save(&directory).unwrap();
        untouched();
        assert_eq!(Record::load(&directory), Ok(record()));

        link("migrate.lock");
        assert!(Lock::take(&directory).unwrap_err().contains("symbolic link"));
        untouched();
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_name_that_is_none_of_an_interface_is_no_word_of_a_command() {
        let directory = directory("names");
        let with = |device: &str, underlay: &str| {
            let before = Before { device: device.to_owned(), underlay: Some(underlay.to_owned()), ..Before::default() };
            Record { vnis: BTreeMap::from([(Vni::new(100).unwrap(), Entry { before, ..Entry::default() })]) }
        };
        let good = with("vxlan-100", "eth0.7");
        good.save(&directory).unwrap();
        assert_eq!(Record::load(&directory), Ok(good));
        for (device, underlay) in
            [("vx", "eth0 netns 1"), ("-batch", "eth0"), ("", "eth0"), ("vx", "sixteen-letters-"), ("vx\n", "eth0")]
        {
            with(device, underlay).save(&directory).unwrap();
            let why = Record::load(&directory).unwrap_err();
            assert!(why.contains("is no name of an interface") && why.contains("move it away"), "{why}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_record_keeps_its_mode_and_one_run_has_the_lock() {
        let directory = directory("plain");
        assert_eq!(Record::load(&directory), Ok(Record::default()));
        record().save(&directory).unwrap();
        std::fs::set_permissions(path(&directory), PermissionsExt::from_mode(0o600)).unwrap();
        // As an interrupted run left it.
        std::fs::write(directory.join("migrate.json.new"), "half").unwrap();
        record().save(&directory).unwrap();
        let mode = std::fs::metadata(path(&directory)).unwrap().mode();
        assert_eq!((mode & 0o7777, std::fs::read_dir(&directory).unwrap().count()), (0o600, 1));

        let lock = Lock::take(&directory).unwrap();
        assert!(Lock::take(&directory).unwrap_err().contains("another evpnctl migrate runs"));
        drop(lock);
        Lock::take(&directory).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// The configuration may be a link into another directory of root's: the file that it leads to is replaced.
    #[test]
    fn a_configuration_behind_a_link_stays_behind_it() {
        let directory = directory("configuration");
        let (file, link) = (directory.join("real.toml"), directory.join("evpnd.toml"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_whole(&link, "new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
