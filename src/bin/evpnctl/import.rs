//! `evpnctl import-frr`: an `evpnd.toml` of an `frr.conf`, and what became of its lines. The reading is `evpnd::import`'s; here are the
//! files, this host's addresses and devices, and the words. No daemon is asked and nothing of the host is changed.
//!
//! Exit codes: 0 written and `evpnd check` accepts it, though lines may be lost (they are told); 1 something has to be filled in first,
//! or nothing could be read or written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use evpnd::import::{self, Device, Fate, Finding, Host, Import, MAX_OCTETS};
use serde::Serialize;

use crate::doctor;

/// What is asked for.
pub(crate) struct Wanted<'a> {
    pub file: &'a Path,
    pub output: Option<&'a Path>,
    pub force: bool,
    pub vtep: Option<IpAddr>,
    pub json: bool,
}

/// A line that is not (as such) in the new file.
#[derive(Serialize)]
struct Line<'a> {
    line: usize,
    last_line: usize,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'a str>,
}

/// What is told with `--json`.
#[derive(Serialize)]
struct Told<'a> {
    file: String,
    output: Option<String>,
    accepted: bool,
    mistakes: Option<&'a str>,
    carried: Vec<Line<'a>>,
    not_needed: Vec<Line<'a>>,
    not_carried: Vec<Line<'a>>,
    /// Where it is not written to a file.
    toml: Option<&'a str>,
}

pub(crate) fn run(wanted: &Wanted<'_>) -> ExitCode {
    match import(wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            let _ = writeln!(io::stderr(), "evpnctl: {why}");
            ExitCode::from(1)
        }
    }
}

/// Whether what came of it can be used as it is.
fn import(wanted: &Wanted<'_>) -> Result<bool, String> {
    let name = wanted.file.display().to_string();
    let octets = read(wanted.file).map_err(|error| format!("{name}: {error}"))?;
    let host = host(wanted.vtep);
    let wrote = wanted.output.map_or_else(|| "evpnd.toml".to_owned(), |path| path.display().to_string());
    let import = import::frr(&name, &octets, &host, &wrote).map_err(|error| format!("{name}: {error}"))?;
    if let Some(path) = wanted.output {
        write(path, &import.toml, wanted.force).map_err(|error| format!("{wrote}: {error}"))?;
    }
    // `evpnctl import-frr … | head` is no failure.
    let _ = if wanted.json { tell_programs(wanted, &name, &import) } else { tell_people(wanted, &name, &import) };
    Ok(import.mistakes.is_none())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let most = MAX_OCTETS as u64 + 1;
    if path == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut octets)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut octets)?;
    }
    Ok(octets)
}

/// This host's addresses and VXLAN devices. The reader finds out whether the file is of this host.
fn host(vtep: Option<IpAddr>) -> Host {
    let links = doctor::links().unwrap_or_else(|why| {
        let _ = writeln!(io::stderr(), "evpnctl: this host's interfaces are not looked at: {why}");
        Vec::new()
    });
    let mut host = Host { vtep, ..Host::default() };
    for link in links {
        host.addresses.extend(link.addresses.iter().map(|address| (link.name.clone(), *address)));
        let local = ["local", "local6"].iter().find_map(|key| link.data[key].as_str()?.parse().ok());
        let vni = link.data["id"].as_u64().and_then(|id| evpnd::base::Vni::new(id.try_into().ok()?));
        if let Some(vni) = vni.filter(|_| link.kind == "vxlan" && link.master.is_some()) {
            host.devices.push(Device { name: link.name, vni, local });
        }
    }
    host
}

/// Writes it for its owner's eyes only: there may be passwords in it. What is replaced keeps its owner, and its group may go on reading.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let old = std::fs::symlink_metadata(path).ok();
    if old.is_some() && !force {
        return Err(io::Error::other("it exists: name another file, or replace it with --force"));
    }
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(io::Error::other("it is no regular file, and is not replaced"));
    }
    let mode = old.as_ref().map_or(0o600, |old| 0o600 | old.mode() & 0o040);
    let beside = temporary(path);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = (|| {
        if let Some(old) = &old {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link refuses where somebody has made the file meanwhile, a rename does not.
        if force { std::fs::rename(&beside, path) } else { std::fs::hard_link(&beside, path) }
    })();
    if written.is_err() || !force {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// A name of ours in the same directory.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

fn place(name: &str, finding: &Finding) -> String {
    match finding.last_line {
        last if last > finding.line => format!("{name}:{}-{last}", finding.line),
        _ => format!("{name}:{}", finding.line),
    }
}

fn tell_people(wanted: &Wanted<'_>, name: &str, import: &Import) -> io::Result<()> {
    if wanted.output.is_none() {
        io::stdout().write_all(import.toml.as_bytes())?;
    }
    let mut out = io::stderr().lock();
    for finding in import.of(Fate::NotNeeded) {
        writeln!(out, "{}: not needed: {}: {}", place(name, finding), finding.text, finding.why)?;
    }
    for finding in import.of(Fate::NotCarried) {
        writeln!(out, "{}: not carried over: {}", place(name, finding), finding.text)?;
        let instead = if finding.instead.is_empty() { "" } else { "; instead: " };
        writeln!(out, "    {}{instead}{}", finding.why, finding.instead)?;
    }
    let count = |fate| import.of(fate).count();
    writeln!(
        out,
        "{name}: {} lines carried over, {} not needed, {} not carried over",
        count(Fate::Carried),
        count(Fate::NotNeeded),
        count(Fate::NotCarried)
    )?;
    if let Some(path) = wanted.output {
        let path = path.display();
        writeln!(out, "{path} is written, for its owner's eyes only: there may be passwords in it")?;
        writeln!(out, "where evpnd runs as its own user: chgrp evpnd {path} && chmod 640 {path}")?;
    }
    if let Some(mistakes) = &import.mistakes {
        writeln!(out, "to be filled in first:\n{}", mistakes.trim_end())?;
    }
    Ok(())
}

fn tell_programs(wanted: &Wanted<'_>, name: &str, import: &Import) -> io::Result<()> {
    let lines = |fate| import.of(fate).map(line).collect();
    let told = Told {
        file: name.to_owned(),
        output: wanted.output.map(|path| path.display().to_string()),
        accepted: import.mistakes.is_none(),
        mistakes: import.mistakes.as_deref(),
        carried: lines(Fate::Carried),
        not_needed: lines(Fate::NotNeeded),
        not_carried: lines(Fate::NotCarried),
        toml: wanted.output.is_none().then_some(&*import.toml),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &told)?;
    out.write_all(b"\n")
}

fn line(finding: &Finding) -> Line<'_> {
    let carried = finding.fate == Fate::Carried;
    Line {
        line: finding.line,
        last_line: finding.last_line,
        text: &finding.text,
        keys: carried.then_some(&finding.why),
        why: (!carried).then_some(&finding.why),
        instead: Some(&*finding.instead).filter(|instead| !instead.is_empty()),
    }
}
