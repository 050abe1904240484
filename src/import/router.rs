//! Lines of `router bgp` that concern the whole speaker.

use super::draft::Draft;
use super::finding::{Verdict, carried, not_carried, not_needed};
use super::known;

/// Whether an unindented line is the router's and not of a family that nobody closed.
pub(super) fn begins_in_router(words: &[&str]) -> bool {
    matches!(words, ["address-family" | "bgp" | "timers", ..] | ["no", "bgp", ..])
}

/// A number within bounds, or why it is none.
pub(super) fn number(text: &str, least: u32, most: u32, what: &str) -> Result<u32, Verdict> {
    match text.parse::<u32>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(not_carried(
            format!("{text:.20} is out of bounds: evpnd takes {least} to {most} {what}"),
            "leave the default, or write what is meant",
        )),
    }
}

/// One line; `None`: not known.
pub(super) fn line(draft: &mut Draft, words: &[&str]) -> Option<Verdict> {
    match read(draft, words) {
        Ok(Some(verdict)) | Err(verdict) => Some(verdict),
        Ok(None) => graceful(draft, words).or_else(|| known::in_router(words)),
    }
}

fn read(draft: &mut Draft, words: &[&str]) -> Result<Option<Verdict>, Verdict> {
    Ok(Some(match words {
        ["bgp", "router-id", id, ..] => match id.parse() {
            Ok(id) => {
                draft.router_id = Some(id);
                carried("[router] router-id")
            }
            Err(_) => not_carried(format!("{id:.40} is not a router-id"), "write router-id = \"…\" into [router]"),
        },
        ["bgp", "cluster-id", id, ..] => match cluster_id(id) {
            Some(id) => {
                draft.cluster_id = Some((id, draft.findings.len()));
                not_needed("evpnd's cluster id is its router-id, which is the same")
            }
            None => not_carried(format!("{id:.40} is not a cluster id"), "nothing: evpnd's cluster id is its router-id"),
        },
        ["bgp", "listen", "limit", most, ..] => {
            draft.listen_limit = Some(number(most, 1, 60_000, "neighbors")?);
            carried("[limits] dynamic-neighbors")
        }
        ["bgp", "default", "l2vpn-evpn", ..] => {
            draft.all_speak_evpn = true;
            not_needed("every neighbor of evpnd speaks EVPN and nothing else")
        }
        ["bgp", "shutdown", ..] => {
            draft.shut_down = true;
            carried("[[neighbor]] enabled")
        }
        ["timers", "bgp", keepalive, hold, ..] => {
            let (keepalive, hold) = hold_time(keepalive, hold)?;
            draft.hold_time = Some(hold);
            timers(keepalive, hold)
        }
        _ => return Ok(None),
    }))
}

/// Keepalive and hold time, in seconds.
pub(super) fn hold_time(keepalive: &str, hold: &str) -> Result<(u32, u16), Verdict> {
    let hold = number(hold, 0, 65_535, "seconds of hold time")?;
    if matches!(hold, 1 | 2) {
        return Err(not_carried("RFC 4271 §4.2 has no hold time of 1 or 2 s", "write hold-time = 3 or more into [[neighbor]]"));
    }
    Ok((number(keepalive, 0, 65_535, "seconds between keepalives")?, hold as u16))
}

/// What became of two timers.
pub(super) fn timers(keepalive: u32, hold: u16) -> Verdict {
    if keepalive * 3 == u32::from(hold) {
        carried("[[neighbor]] hold-time")
    } else {
        carried("[[neighbor]] hold-time (keepalives go at a third of the hold time, or of the neighbor's where that is less)")
    }
}

/// A cluster id is an IPv4 address, or a number.
fn cluster_id(text: &str) -> Option<crate::base::BgpIdentifier> {
    let number = || text.parse::<u32>().ok().map(|number| std::net::Ipv4Addr::from_bits(number).to_string());
    text.parse().ok().or_else(|| number()?.parse().ok())
}

/// A line about graceful restart: in the router, or with newer versions at the top.
pub(super) fn graceful(draft: &mut Draft, words: &[&str]) -> Option<Verdict> {
    let finding = draft.findings.len();
    let set = |text: &str, most: u32, key: &str, to: &mut Option<u32>| match number(text, 1, most, "seconds") {
        Ok(seconds) => {
            *to = Some(seconds);
            carried(&format!("[graceful-restart] {key}"))
        }
        Err(verdict) => verdict,
    };
    let graceful = &mut draft.graceful;
    Some(match words {
        ["bgp", "graceful-restart"] => not_needed("evpnd restarts gracefully unless told otherwise"),
        ["bgp", "graceful-restart-disable"] => {
            graceful.disabled = true;
            carried("[graceful-restart] enabled")
        }
        ["bgp", "graceful-restart", "restart-time", secs, ..] => set(secs, 4095, "restart-time", &mut graceful.restart_time),
        ["bgp", "graceful-restart", "stalepath-time", secs, ..] => set(secs, 86_400, "stale-time", &mut graceful.stale_time),
        ["bgp", "long-lived-graceful-restart", "stale-time", secs, ..] => {
            let mut stale_time = None;
            let verdict = set(secs, 0xff_ffff, "long-lived-stale-time", &mut stale_time);
            graceful.long_lived = stale_time.map(|secs| (secs, finding));
            verdict
        }
        ["bgp", "graceful-restart", "preserve-fw-state", ..] => not_needed("evpnd's rows stay over a restart, and it says so"),
        ["bgp", "graceful-restart", "notification", ..] => not_needed("evpnd always does so (RFC 8538)"),
        ["bgp", "graceful-restart", "select-defer-time", ..] => not_carried(
            "evpnd waits for its neighbors' End-of-RIB for restart-time",
            "raise restart-time in [graceful-restart] where neighbors take longer",
        ),
        ["bgp", "graceful-restart", "rib-stale-time", ..] => not_carried(
            "evpnd sweeps rows that no route confirmed after restart-time",
            "raise restart-time in [graceful-restart] where neighbors take longer",
        ),
        ["bgp", "graceful-restart", "disable-eor", ..] => {
            not_carried("evpnd always says End-of-RIB (RFC 4724 §3)", "nothing: neighbors without graceful restart ignore it")
        }
        ["no", "bgp", "graceful-restart", "notification", ..] => {
            not_carried("evpnd keeps routes over a NOTIFICATION where the neighbor agrees (RFC 8538)", "nothing")
        }
        ["bgp", "graceful-restart", ..] | ["no", "bgp", "graceful-restart", ..] => {
            not_carried("evpnd does not know this line", "see the keys of [graceful-restart]")
        }
        _ => return None,
    })
}
