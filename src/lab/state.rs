//! What a lab that stays has made, written down as it is made: so `lab down` removes exactly that and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::netns;
use super::plan::LabOptions;
use super::process::{ProcessId, end_all};

const FILE: &str = "state.json";
/// Where a lab in a user namespace keeps the names of its namespaces, below its own directory.
pub const PRIVATE_NAMES: &str = "netns";

/// A lab on paper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How it was made.
    pub options: LabOptions,
    /// False while it is being made.
    pub is_complete: bool,
    /// The process that holds the user namespace open; none in a lab made by root.
    pub holder: Option<ProcessId>,
    /// The named namespaces.
    pub namespaces: Vec<NamespaceRecord>,
    /// The daemons.
    pub daemons: Vec<DaemonRecord>,
}

/// A namespace with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// `hv1`, `vm1-1`, `rr`, `underlay`.
    pub node: String,
    /// Its name in the file system.
    pub path: PathBuf,
    /// Its number: another namespace may get the name later.
    pub inode: u64,
}

/// A daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRecord {
    /// Where it runs.
    pub node: String,
    /// Which process it is.
    pub process: ProcessId,
    /// What it runs.
    pub program: PathBuf,
    /// The control socket of an evpnd.
    pub socket: Option<PathBuf>,
    /// Its output.
    pub log: PathBuf,
}

impl State {
    /// A lab of which nothing is made yet.
    pub fn new(options: &LabOptions) -> Self {
        Self { options: options.clone(), is_complete: false, holder: None, namespaces: Vec::new(), daemons: Vec::new() }
    }

    /// Writes it into the lab's directory, whole or not at all.
    pub fn save(&self, directory: &Path) -> anyhow::Result<()> {
        let (file, new) = (directory.join(FILE), directory.join("state.json.new"));
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &file).with_context(|| format!("write {}", file.display()))
    }

    /// Reads the one in `directory`; `None` where there is no lab.
    pub fn load(directory: &Path) -> anyhow::Result<Option<Self>> {
        let file = directory.join(FILE);
        match fs::read(&file) {
            Ok(text) => {
                let state = serde_json::from_slice(&text).with_context(|| format!("{} makes no sense", file.display()))?;
                Ok(Some(state))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
        }
    }

    /// Ends the processes, then removes names and files.
    pub fn tear_down(&self, directory: &Path) -> anyhow::Result<()> {
        let daemons: Vec<ProcessId> = self.daemons.iter().map(|daemon| daemon.process).collect();
        end_all(&daemons);
        end_all(self.holder.as_slice());
        self.remove_traces(directory)
    }

    /// Removes the names of the namespaces and the lab's directory.
    pub fn remove_traces(&self, directory: &Path) -> anyhow::Result<()> {
        for record in &self.namespaces {
            // In a user namespace the names vanish with its mount namespace; seen from outside there are none.
            match fs::metadata(&record.path) {
                Ok(found) if found.ino() == record.inode => netns::unpin(&record.path)?,
                _ => {}
            }
        }
        let names = directory.join(PRIVATE_NAMES);
        if names.exists() {
            netns::unmount(&names)?;
        }
        match fs::remove_dir_all(directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
        // The directory of all labs goes with the last of them.
        if let Some(base) = directory.parent().filter(|base| base.file_name().is_some_and(is_base)) {
            let _ = fs::remove_dir(base);
        }
        Ok(())
    }
}

/// Whether this is a name that [`base_directory`] gives.
fn is_base(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("evpnd-lab"))
}

/// The directory under which labs keep their files: made where it is missing, and refused where somebody else owns it.
pub fn base_directory() -> anyhow::Result<PathBuf> {
    // SAFETY: geteuid(2) only returns a number.
    let uid = unsafe { libc::geteuid() };
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    let directory = match (uid, run) {
        (0, _) => PathBuf::from("/run/evpnd-lab"),
        (_, Some(run)) => run.join("evpnd-lab"),
        (uid, None) => std::env::temp_dir().join(format!("evpnd-lab-{uid}")),
    };
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(e).with_context(|| format!("make {}", directory.display()));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != uid {
        bail!("{} is not a directory of ours: remove it, or set XDG_RUNTIME_DIR", directory.display());
    }
    Ok(directory)
}

/// The directory of the lab called `name`. The name becomes part of file names.
pub fn lab_directory(base: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let is_fine = !name.is_empty() && name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    anyhow::ensure!(is_fine, "the name {name:?} of a lab may only have letters, digits and dashes, 32 at most");
    Ok(base.join(name))
}
