//! `evpnctl doctor`: what breaks VXLAN in practice, one line and one remedy a finding (docs/DOCTOR.md).
//!
//! `facts` looks at the host and asks the daemon, `checks` judges what was seen and does nothing else, `firewall` reads rules.
//! Nothing is changed; the only packets sent are pings to VTEPs.

mod checks;
pub(crate) mod facts;
mod firewall;
mod limits;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::arguments::{Cli, Ignore};

pub(crate) use facts::links;

impl Ignore {
    fn takes(&self, finding: &Finding) -> bool {
        self.check == finding.check && (self.at.is_none() || self.at == finding.at)
    }
}

/// Something that is wrong, or will be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// Which check, as in docs/DOCTOR.md.
    pub check: &'static str,
    /// The one device, bridge, neighbor, VNI or counter that it is about.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is wrong, where.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
}

impl Finding {
    fn new(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, at: None, what: what.into(), remedy: remedy.into() }
    }

    fn at(mut self, place: impl ToString) -> Self {
        self.at = Some(place.to_string());
        self
    }
}

/// Looks, judges, tells. Exit code 0 where nothing was found but what is ignored, 1 where something was.
pub(crate) fn run(cli: &Cli, ignored: &[Ignore]) -> ExitCode {
    let facts = facts::gather(cli);
    let (silent, findings): (Vec<Finding>, Vec<Finding>) =
        checks::judge(&facts).into_iter().partition(|finding| ignored.iter().any(|ignore| ignore.takes(finding)));
    match tell(cli.json, &facts, &findings, silent.len()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(1),
        _ if findings.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

fn tell(json: bool, facts: &facts::Facts, findings: &[Finding], silent: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, findings)?;
        return out.write_all(b"\n");
    }
    for Finding { check, at, what, remedy } in findings {
        let place = at.as_ref().map_or_else(String::new, |at| format!(":{at}"));
        writeln!(out, "{check}{place}: {what}\n    remedy: {remedy}")?;
    }
    for skipped in &facts.skipped {
        writeln!(out, "not looked at: {skipped}")?;
    }
    if silent > 0 {
        writeln!(out, "ignored: {silent}")?;
    }
    if findings.is_empty() {
        writeln!(out, "nothing found: {} VNIs, {} VTEPs", facts.vnis.len(), facts.vteps.len())?;
    }
    Ok(())
}
