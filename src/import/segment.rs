//! Lines of `address-family l2vpn evpn`, and of the `vni` blocks in it.

use crate::base::Vni;
use crate::wire::ext_community::RouteTarget;
use crate::wire::rd::Rd;

use super::draft::{Draft, Segment};
use super::finding::{Verdict, carried, not_carried, not_needed};
use super::known;
use super::router::number;

/// The most route targets of one VNI that are carried, each way.
const TARGETS: usize = 1000;
const OWN_RD: &str = "nothing: evpnd keeps a number for each VNI";

/// `vni NUMBER`: the place of its block.
pub(super) fn begin(draft: &mut Draft, number: &str) -> (Verdict, Option<usize>) {
    let Ok(vni) = number.parse::<Vni>() else {
        return (not_carried(format!("{number:.20} is not a VNI"), "write a [[vni]] with an id from 1 to 16777215"), None);
    };
    let index = *draft.by_vni.entry(vni).or_insert(draft.vnis.len());
    if index == draft.vnis.len() {
        draft.vnis.push(Segment { vni, rd: None, import: Vec::new(), export: Vec::new(), findings: Vec::new() });
    }
    (carried("[[vni]] id"), Some(index))
}

/// A line of a `vni` block; `None`: it is not of the block.
pub(super) fn in_segment(draft: &mut Draft, index: usize, words: &[&str]) -> Option<Verdict> {
    let vni = draft.vnis[index].vni;
    match words {
        ["rd", rd, ..] => Some(match rd.parse::<Rd>() {
            Ok(parsed) if *draft.rds.entry(parsed.to_string()).or_insert(vni) != vni => {
                not_carried("another VNI has this route distinguisher (RFC 7432 §7.9)", OWN_RD)
            }
            Ok(parsed) => {
                draft.vnis[index].rd = Some(parsed.to_string());
                carried("[[vni]] rd")
            }
            Err(_) => not_carried(format!("{rd:.40} is not a route distinguisher"), OWN_RD),
        }),
        ["route-target", way @ ("import" | "export" | "both"), targets @ ..] if !targets.is_empty() => {
            Some(targets_of(&mut draft.vnis[index], way, targets))
        }
        ["no", "route-target", ..] => Some(not_needed("the route targets that are named are all")),
        ["neighbor", ..] | ["vni", ..] | ["advertise-all-vni"] => None,
        _ => known::in_evpn(words),
    }
}

fn targets_of(segment: &mut Segment, way: &str, targets: &[&str]) -> Verdict {
    let mut wrong = None;
    for text in targets {
        let any_as = text.strip_prefix("*:").is_some_and(|number| number.parse::<u32>().is_ok());
        let exact = text.parse::<RouteTarget>();
        let written = match &exact {
            Ok(target) => target.to_string(),
            Err(_) if *text == "auto" || any_as && way == "import" => (*text).to_owned(),
            Err(_) => {
                wrong.get_or_insert(*text);
                continue;
            }
        };
        if segment.import.len().max(segment.export.len()) >= TARGETS {
            return not_carried(format!("more than {TARGETS} route targets"), "write them into import or export of [[vni]]");
        }
        for (wanted, list) in [("import", &mut segment.import), ("export", &mut segment.export)] {
            if (way == wanted || way == "both") && !list.contains(&written) {
                list.push(written.clone());
            }
        }
    }
    match wrong {
        Some(text) => not_carried(
            format!("{text:.40} is not a route target that can be used so"),
            "write it into import or export of [[vni]], as in \"65000:100\"",
        ),
        None => carried(match way {
            "import" => "[[vni]] import",
            "export" => "[[vni]] export",
            _ => "[[vni]] import, export",
        }),
    }
}

/// A line of the family that is not of a neighbor; `None`: it may be the router's.
pub(super) fn in_evpn(draft: &mut Draft, words: &[&str]) -> Option<Verdict> {
    match read(draft, words) {
        Ok(Some(verdict)) | Err(verdict) => Some(verdict),
        Ok(None) => known::in_evpn(words),
    }
}

fn read(draft: &mut Draft, words: &[&str]) -> Result<Option<Verdict>, Verdict> {
    Ok(Some(match words {
        ["no", "advertise-all-vni"] => not_needed("evpnd announces the VNIs that it is told of"),
        ["autort", "rfc8365-compatible"] => {
            draft.rfc8365_targets = Some(draft.findings.len());
            carried("[[vni]] export")
        }
        ["flooding", "disable"] => {
            draft.flooding_disabled = true;
            carried("[vni-defaults] flood")
        }
        ["dup-addr-detection"] => not_needed("evpnd does so unless told otherwise (N = 5, M = 180 s, RFC 7432 §15.1)"),
        ["no", "dup-addr-detection", ..] => {
            draft.duplicates.moves = Some(0);
            carried("[duplicate-detection] moves")
        }
        ["dup-addr-detection", "max-moves", moves, "time", seconds, ..] => {
            let moves = number(moves, 1, 1000, "moves")?;
            draft.duplicates.seconds = Some(number(seconds, 1, 86_400, "seconds")?);
            draft.duplicates.moves = Some(moves);
            carried("[duplicate-detection] moves, seconds")
        }
        ["dup-addr-detection", "freeze", "permanent", ..] => {
            draft.duplicates.freeze = Some(0);
            carried("[duplicate-detection] action, recovery-seconds")
        }
        ["dup-addr-detection", "freeze", seconds, ..] => {
            draft.duplicates.freeze = Some(number(seconds, 1, 604_800, "seconds")?);
            carried("[duplicate-detection] action, recovery-seconds")
        }
        _ => return Ok(None),
    }))
}
