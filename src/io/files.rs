//! Files: the configuration and the state that outlives the process.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use zeroize::Zeroizing;

use crate::config::{self, Config};
use crate::evpn::Sequences;
use crate::speaker::KeptState;

use super::keys::Keys;

/// Reads and checks a configuration. The error is the whole report: file, line, column, caret, what was expected.
pub fn read_config(path: &Path) -> anyhow::Result<Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {name}"))?;
    // There may be passwords in it.
    let text = Zeroizing::new(text);
    config::parse(&name, &text).map_err(|error| anyhow!("{error}"))
}

/// Reads a configuration for use: its passwords, those in files as well, apart.
pub fn read_with_keys(path: &Path, before: &Keys) -> anyhow::Result<(Config, Keys)> {
    let mut config = read_config(path)?;
    let keys = Keys::take(before, &mut config)?;
    Ok((config, keys))
}

const STATE_FILE: &str = "state.json";

/// Takes a state directory for this process, as long as the file is open: two daemons with one would take the VNIs of each other for
/// left over. `None`: it cannot be taken, and the first save will say why.
///
/// # Errors
/// Another process has it.
pub fn take_state_directory(directory: &Path) -> anyhow::Result<Option<File>> {
    let _ = std::fs::create_dir_all(directory);
    let Ok(taken) = File::open(directory) else { return Ok(None) };
    if let Err(std::fs::TryLockError::WouldBlock) = taken.try_lock() {
        bail!(
            "another evpnd has the state directory {}: stop it, or give this one a `state-directory` of its own in [router]",
            directory.display()
        );
    }
    Ok(Some(taken))
}

/// The kept state, empty where there is none, and whether it is of this boot. Makes the directory: later nothing outside of
/// it may be made.
pub fn load_state(directory: &Path) -> KeptState {
    // Where it fails the first save will say so.
    let _ = std::fs::create_dir_all(directory);
    let mut state = read_state(directory);
    // Without the name of the boot nothing is known to have survived.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    state.is_restart = !boot.is_empty() && state.boot == boot;
    state.boot = boot;
    state.sequences = load_sequences(directory);
    state
}

fn read_state(directory: &Path) -> KeptState {
    read_json(&directory.join(STATE_FILE), "route distinguishers are numbered anew").unwrap_or_default()
}

/// What a file of ours holds; none where there is no file. A broken one is set aside, not trusted: that costs a warning and what
/// it held, in the words of `consequence`.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path, consequence: &str) -> Option<T> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read {}: {error}; {consequence}", path.display());
            return None;
        }
    };
    let refused = |error| {
        let aside = path.with_extension("json.broken");
        tracing::warn!("{} is broken ({error}): set aside as {}; {consequence}", path.display(), aside.display());
        let _ = std::fs::rename(path, &aside);
    };
    serde_json::from_str(&text).map_err(refused).ok()
}

/// Writes a file of ours whole or not at all. `sync`: waits until it would outlive a loss of power.
fn write_whole(directory: &Path, name: &str, octets: &[u8], sync: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let fresh = directory.join(format!("{name}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(octets)?;
    if sync {
        file.sync_all()?;
    }
    std::fs::rename(fresh, directory.join(name))?;
    Ok(())
}

/// Writes the state.
pub fn save_state(directory: &Path, state: &KeptState) {
    let octets = serde_json::to_vec_pretty(state).map_err(anyhow::Error::from);
    if let Err(error) = octets.and_then(|octets| write_whole(directory, STATE_FILE, &octets, true)) {
        tracing::warn!(
            "cannot keep state in {}: {error}; route distinguishers may change at a restart (set `state-directory`)",
            directory.display()
        );
    }
}

const SEQUENCES_FILE: &str = "sequences.json";

/// Of the layout of [`SequencesFile`]; another one is not read.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Layout {
    #[serde(rename = "1")]
    One,
}

/// What the file of sequence numbers holds.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct SequencesFile {
    layout: Layout,
    sequences: Sequences,
}

/// The kept sequence numbers.
fn load_sequences(directory: &Path) -> Sequences {
    let consequence = "MACs that moved here are announced as if they never had";
    let file = read_json::<SequencesFile>(&directory.join(SEQUENCES_FILE), consequence);
    file.map(|file| file.sequences).unwrap_or_default()
}

/// Writes the sequence numbers. Without waiting for the disk: they matter after the end of the process, not after that of the
/// machine, whose bridges forget everything.
pub fn save_sequences(directory: &Path, sequences: Sequences) {
    let file = SequencesFile { layout: Layout::One, sequences };
    let octets = serde_json::to_vec(&file).map_err(anyhow::Error::from);
    if let Err(error) = octets.and_then(|octets| write_whole(directory, SEQUENCES_FILE, &octets, false)) {
        tracing::warn!(
            "cannot keep sequence numbers in {}: {error}; after a restart peers may see moves (set `state-directory`)",
            directory.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MacAddr, Vni};

    #[test]
    fn a_state_directory_is_one_process_s() {
        let directory = std::env::temp_dir().join(format!("evpnd-taken-{}", std::process::id()));
        let first = take_state_directory(&directory).unwrap().unwrap();
        let refused = take_state_directory(&directory).unwrap_err().to_string();
        assert!(refused.contains("another evpnd has the state directory") && refused.contains("state-directory"), "{refused}");
        drop(first);
        assert!(take_state_directory(&directory).unwrap().is_some());
        assert!(take_state_directory(Path::new("/proc/nowhere")).unwrap().is_none());
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn sequence_numbers_are_read_back_and_what_is_damaged_is_set_aside() {
        let directory = std::env::temp_dir().join(format!("evpnd-files-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        assert_eq!(load_sequences(&directory), Sequences::default(), "no directory yet");
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let sequences: Sequences = [(Vni::new(100).unwrap(), [(mac, u32::MAX)].into())].into();
        save_sequences(&directory, sequences.clone());
        assert_eq!(load_sequences(&directory), sequences);
        assert_eq!(load_state(&directory).sequences, sequences);
        let path = directory.join(SEQUENCES_FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        let damaged = [
            whole[..whole.len() / 2].to_owned(),
            String::new(),
            whole.replace("\"layout\":\"1\"", "\"layout\":\"2\""),
            "\u{0}".repeat(64),
        ];
        for text in damaged {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(load_sequences(&directory), Sequences::default(), "{text}");
            assert!(!path.exists() && directory.join("sequences.json.broken").exists(), "{text}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
