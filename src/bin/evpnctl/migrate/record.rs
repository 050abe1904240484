//! What must outlive an interrupted run, and what `--undo` needs: how each device was before. One JSON file in the state directory of
//! the daemon, written whole before anything is changed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use evpnd::base::{MacAddr, Vni};
use serde::{Deserialize, Serialize};

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
    pub fixed: Vec<(MacAddr, IpAddr)>,
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
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                format!("{} is broken ({error}): it says how devices were before; restore it, or move it away where nothing is to be undone", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {error}; be root", path.display())),
        }
    }

    /// # Errors
    /// In words.
    pub(super) fn save(&self, directory: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        write_whole(&path(directory), &text)
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
        let failed = |error: std::io::Error| {
            format!("cannot lock {}: {error}; be root, and see that its directory is there", path.display())
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
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
///
/// # Errors
/// In words.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), String> {
    // The file and not its link is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fresh = path.with_file_name(format!("{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let write = || {
        let mut file = std::fs::File::create(&fresh)?;
        if let Ok(old) = std::fs::metadata(&path) {
            use std::os::unix::fs::MetadataExt;
            file.set_permissions(old.permissions())?;
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        format!("cannot write {}: {error}; be root, and see that its directory may be written", path.display())
    })
}
