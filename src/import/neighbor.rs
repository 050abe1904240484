//! Lines of neighbors and groups: `neighbor WHO …`, in the router and in `l2vpn evpn`.

use ipnet::IpNet;

use super::draft::{Draft, MaxRoutes, Options, Range, RemoteAs};
use super::finding::{Verdict, carried, not_carried, not_needed};
use super::known;
use super::lines::{Line, tame};
use super::router::{hold_time, number, timers};

/// The longest TCP MD5 key the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
const PASSWORD_MAX: usize = 80;
/// The longest description, in octets.
const DESCRIPTION_MAX: usize = 255;

/// Whether the line is of a neighbor.
pub(super) fn is_of_neighbor(words: &[&str]) -> bool {
    matches!(words, ["neighbor", _, _, ..] | ["no", "neighbor", _, _, ..])
}

/// Reads one line; `evpn`: it stands in `l2vpn evpn`.
pub(super) fn line(draft: &mut Draft, line: &Line<'_>, words: &[&str], evpn: bool) {
    let (no, words) = match words {
        ["no", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let finding = draft.findings.len();
    let who = words[1];
    let verdict = if let (false, ["neighbor", _, "interface", rest @ ..]) = (no, words) {
        interface(draft, who, rest, finding)
    } else if let (false, ["neighbor", _, "peer-group", rest @ ..]) = (no, words) {
        peer_group(draft, who, rest.first().copied())
    } else {
        let options = &mut draft.peer(who).options;
        let read = if no { undo(options, words, evpn) } else { option(options, line, words, finding, evpn) };
        let all = if no { line.words() } else { words.to_vec() };
        match read {
            Ok(Some(verdict)) | Err(verdict) => verdict,
            Ok(None) => known::of_neighbor(&all).unwrap_or_else(|| {
                not_carried("evpnd does not know this line", "see whether a key of [[neighbor]] says the same")
            }),
        }
    };
    let finding = draft.note(line, verdict);
    draft.peer(who).findings.push(finding);
}

/// `neighbor eth1 interface [v6only] [remote-as …] [peer-group …]`.
fn interface(draft: &mut Draft, who: &str, words: &[&str], finding: usize) -> Verdict {
    let peer = draft.peer(who);
    peer.is_interface = true;
    for pair in words.windows(2) {
        match pair {
            ["remote-as", asn] => peer.options.asn = remote_as(asn).map(|asn| (asn, finding)),
            ["peer-group", group] => peer.group = Some((*group).to_owned()),
            _ => {}
        }
    }
    carried("[[neighbor]]")
}

fn peer_group(draft: &mut Draft, who: &str, group: Option<&str>) -> Verdict {
    let peer = draft.peer(who);
    match group {
        None => {
            peer.is_group = true;
            not_needed("evpnd has no groups: what the group says stands with each of its neighbors")
        }
        Some(group) => {
            peer.group = Some(group.to_owned());
            carried("[[neighbor]] address")
        }
    }
}

fn remote_as(text: &str) -> Option<RemoteAs> {
    match text {
        "internal" => Some(RemoteAs::Internal),
        "external" | "auto" => Some(RemoteAs::External),
        number => number.parse().ok().map(RemoteAs::Number),
    }
}

/// A line that sets something.
fn option(
    options: &mut Options,
    line: &Line<'_>,
    words: &[&str],
    finding: usize,
    evpn: bool,
) -> Result<Option<Verdict>, Verdict> {
    let said = &words[2..];
    Ok(Some(match said {
        ["remote-as", asn, ..] => {
            options.asn = remote_as(asn).map(|asn| (asn, finding));
            match options.asn {
                Some(_) => carried("[[neighbor]] asn"),
                None => not_carried(format!("{asn:.20} is not an AS number"), "write asn = … into [[neighbor]]"),
            }
        }
        ["description", ..] => {
            let (text, whole) = description(line.behind(3));
            options.description = Some(text);
            if whole { carried("[[neighbor]] description") } else { carried("[[neighbor]] description (shortened)") }
        }
        ["password", ..] => password(options, line.behind(3)),
        ["port", port, ..] => {
            options.port = Some(number(port, 1, 65_535, "as a port")? as u16);
            carried("[[neighbor]] port")
        }
        ["update-source", source, ..] => {
            options.source = Some(((*source).to_owned(), finding));
            carried("[[neighbor]] local-address")
        }
        ["passive", ..] => {
            options.passive = Some(true);
            carried("[[neighbor]] passive")
        }
        ["shutdown", ..] => {
            options.enabled = Some(false);
            carried("[[neighbor]] enabled")
        }
        ["ebgp-multihop", rest @ ..] => {
            options.multihop = Some(number(rest.first().unwrap_or(&"255"), 1, 255, "hops")? as u8);
            carried("[[neighbor]] multihop")
        }
        ["ttl-security", "hops", hops, ..] => {
            options.ttl_security = Some(number(hops, 1, 254, "hops")? as u8);
            carried("[[neighbor]] ttl-security")
        }
        ["timers", "connect", secs, ..] => {
            options.connect_retry = Some(number(secs, 1, 65_535, "seconds")? as u16);
            carried("[[neighbor]] connect-retry")
        }
        ["timers", keepalive, hold, ..] if *keepalive != "delayopen" => {
            let (keepalive, hold) = hold_time(keepalive, hold)?;
            options.hold_time = Some(hold);
            timers(keepalive, hold)
        }
        ["graceful-restart-disable", ..] => {
            options.graceful = Some(false);
            carried("[[neighbor]] graceful-restart")
        }
        ["graceful-restart", ..] => not_needed("evpnd restarts gracefully unless told otherwise"),
        ["graceful-restart-helper", ..] => not_needed("evpnd helps every neighbor that restarts gracefully, and does so itself"),
        ["activate", ..] if evpn => {
            options.activated = Some(true);
            carried("[[neighbor]]")
        }
        ["activate", ..] => not_carried("evpnd speaks EVPN only", "keep IPv4 unicast with FRR"),
        ["route-reflector-client", ..] if evpn => {
            options.client = Some(true);
            carried("[[neighbor]] route-reflector-client")
        }
        ["maximum-prefix", most, rest @ ..] if evpn => {
            let most = number(most, 1, u32::MAX, "routes")?;
            if rest.contains(&"warning-only") {
                options.max_routes = Some(MaxRoutes::Warn);
                not_carried(
                    "FRR only warns beyond so many routes; max-routes of evpnd closes the session",
                    "watch the metric evpnd_neighbor_routes_received, or write max-routes = … into [[neighbor]] where a limit is wanted",
                )
            } else {
                options.max_routes = Some(MaxRoutes::Close(most));
                match rest.iter().all(|word| word.bytes().all(|b| b.is_ascii_digit())) {
                    true => carried("[[neighbor]] max-routes"),
                    false => carried("[[neighbor]] max-routes (the session is let in again after 60 s, then more)"),
                }
            }
        }
        _ => return Ok(None),
    }))
}

/// A line that takes something back.
fn undo(options: &mut Options, words: &[&str], evpn: bool) -> Result<Option<Verdict>, Verdict> {
    Ok(Some(match &words[2..] {
        ["activate", ..] if evpn => {
            options.activated = Some(false);
            not_needed("it is no neighbor for EVPN, and not in the new file")
        }
        ["activate", ..] => not_needed("every neighbor of evpnd speaks EVPN and nothing else"),
        ["shutdown", ..] => {
            options.enabled = Some(true);
            carried("[[neighbor]] enabled")
        }
        _ => return Ok(None),
    }))
}

fn password(options: &mut Options, text: &str) -> Verdict {
    if text.is_empty() || text.len() > PASSWORD_MAX {
        return not_carried(
            format!("a password of {} octets: the kernel's TCP MD5 takes 1 to {PASSWORD_MAX}", text.len()),
            "write password = \"…\" into [[neighbor]]",
        );
    }
    if text.contains(|c: char| c.is_control() || c == '\u{fffd}') {
        return not_carried(
            "a password with octets that are no text",
            "write it into a file of its own, and password-file = \"…\" into [[neighbor]]",
        );
    }
    options.password = Some(text.to_owned());
    carried("[[neighbor]] password")
}

/// As much of a description as fits, and whether that is all of it.
fn description(text: &str) -> (String, bool) {
    let text = tame(text);
    let mut end = text.len().min(DESCRIPTION_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text[..end].to_owned(), end == text.len())
}

/// `bgp listen range PREFIX peer-group GROUP`.
pub(super) fn listen_range(draft: &mut Draft, line: &Line<'_>, words: &[&str]) {
    let verdict = match words {
        ["bgp", "listen", "range", range, "peer-group", group, ..] => match range.parse::<IpNet>() {
            Ok(range) => {
                let finding = draft.findings.len();
                draft.ranges.push(Range { range: range.trunc(), group: (*group).to_owned(), finding });
                carried("[[neighbor]] listen-range")
            }
            Err(_) => not_carried(format!("{range:.50} is not a range of addresses"), "write a [[neighbor]] with listen-range"),
        },
        _ => not_carried("a listen range without a group", "write a [[neighbor]] with listen-range"),
    };
    draft.note(line, verdict);
}
