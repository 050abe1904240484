//! Which guests are coming here by live migration: a file for each in a directory of root's, from `migrate` to `started`. Not with the daemon,
//! which may not run in that moment, and by whose VNIs a guest on a network of libvirt is not known yet.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Gone with a boot, as guests are.
const DIRECTORY: &str = "/run/evpnd-hooks";
/// libvirt says nothing more of a migration that fails early, or of a guest that is moved while it is off: after so long a mark is of one
/// of these. Between `migrate` and `started` only images of disks are made.
const FRESH: Duration = Duration::from_secs(3600);
/// The longest name of a file, octets, is 255.
const LONGEST: usize = 250;

/// The mark of one guest.
pub(super) struct Mark(PathBuf);

impl Mark {
    /// `socket`: of the daemon that is asked, for a machine may have several; `caller`: the guest.
    pub(super) fn of(socket: &Path, caller: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' };
        let mut name: String = format!("{caller}@{}", socket.display()).chars().map(plain).collect();
        name.truncate(LONGEST);
        Self(Path::new(DIRECTORY).join(name))
    }

    /// # Errors
    /// In words.
    pub(super) fn set(&self) -> Result<(), String> {
        let set = || {
            DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
            // One that is left over gets a new time.
            let _ = fs::remove_file(&self.0);
            File::create(&self.0).map(drop)
        };
        set().map_err(|error: io::Error| {
            format!("cannot note in {} that the guest is coming by migration: {error}", self.0.display())
        })
    }

    /// Takes it away. Whether it was there, and not from long ago.
    pub(super) fn take(&self) -> bool {
        let written = fs::symlink_metadata(&self.0).and_then(|file| file.modified());
        let fresh = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH));
        let _ = fs::remove_file(&self.0);
        fresh
    }
}
