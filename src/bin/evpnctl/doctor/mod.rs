//! `evpnctl doctor`: what breaks VXLAN in practice, one line and one remedy a finding (docs/DOCTOR.md).
//!
//! `facts` looks at the host and asks the daemon, `checks` judges what was seen and does nothing else, `firewall` reads rules.
//! Nothing is changed; the only packets sent are pings to VTEPs.

mod checks;
pub(crate) mod facts;
mod firewall;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::arguments::Cli;

pub(crate) use facts::links;

/// Something that is wrong, or will be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// Which check, as in docs/DOCTOR.md.
    pub check: &'static str,
    /// What is wrong, where.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
}

impl Finding {
    fn new(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, what: what.into(), remedy: remedy.into() }
    }
}

/// Looks, judges, tells. Exit code 0 where nothing was found, 1 where something was.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let facts = facts::gather(cli);
    let findings = checks::judge(&facts);
    match tell(cli.json, &facts, &findings) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(1),
        _ if findings.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

fn tell(json: bool, facts: &facts::Facts, findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, findings)?;
        return out.write_all(b"\n");
    }
    for finding in findings {
        writeln!(out, "{}: {}\n    remedy: {}", finding.check, finding.what, finding.remedy)?;
    }
    for skipped in &facts.skipped {
        writeln!(out, "not looked at: {skipped}")?;
    }
    if findings.is_empty() {
        writeln!(out, "nothing found: {} VNIs, {} VTEPs", facts.vnis.len(), facts.vteps.len())?;
    }
    Ok(())
}
