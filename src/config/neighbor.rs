//! `[[neighbor]]`: one by one, and against one another.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use crate::base::Asn;

use super::model::{Neighbor, NeighborAddress, Password};
use super::reader::Section;
use super::report::Mistakes;
use super::router::{asn, host_address};
use super::secret::Secret;

/// The longest TCP MD5 key the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
const PASSWORD_MAX: usize = 80;
/// The longest description, in octets.
const DESCRIPTION_MAX: usize = 255;

/// Reads one `[[neighbor]]` of the AS `own`, at `vtep`. `None` where it does not say who it is.
pub(super) fn read(
    section: &Section<'_>,
    own: Option<Asn>,
    vtep: Option<IpAddr>,
    mistakes: &mut Mistakes,
) -> Option<Spanned<Neighbor>> {
    let who = who(section, vtep, mistakes);
    let given_asn = asn(section, mistakes);
    // Without an own AS there is a mistake already; what is made here is thrown away.
    let own = own.unwrap_or(Asn(1));
    let asn = given_asn.as_ref().map_or(own, |asn| *asn.get_ref());
    let range = matches!(who.as_ref().map(|who| *who.get_ref()), Some(NeighborAddress::ListenRange(_)));

    let passive = section.boolean("passive", mistakes);
    let port = section.integer("port", 1..=65535, "a TCP port", mistakes);
    let connect_retry = section.integer("connect-retry", 1..=65535, "seconds", mistakes);
    if range {
        let unused = [
            passive.as_ref().filter(|passive| !passive.get_ref()).and_then(|_| section.has("passive")),
            port.as_ref().and_then(|_| section.has("port")),
            connect_retry.as_ref().and_then(|_| section.has("connect-retry")),
        ];
        for span in unused.into_iter().flatten() {
            mistakes.add(
                span,
                "nobody connects to a listen-range",
                "has no meaning here",
                "take it away: neighbors of a range connect to us",
            );
        }
    }
    let hold_time = section.integer("hold-time", 0..=65535, "seconds", mistakes);
    if let Some(secs) = hold_time.as_ref().filter(|secs| matches!(secs.get_ref(), 1 | 2)) {
        mistakes.add(
            secs.span(),
            format!("a hold-time of {} is not allowed (RFC 4271 §4.2)", secs.get_ref()),
            "expected 0 (no keepalives) or 3 to 65535 seconds",
            "leave hold-time out for 90",
        );
    }
    let ttl_security = match section.as_boolean("ttl-security") {
        Some(true) => Some(1),
        Some(false) => None,
        None => section.integer("ttl-security", 1..=254, "a number of hops", mistakes).map(|hops| *hops.get_ref() as u8),
    };
    let multihop = section.integer("multihop", 1..=255, "a TTL", mistakes).map(|ttl| *ttl.get_ref() as u8);
    if let (Some(first), Some(second), Some(_), Some(_)) =
        (section.has("ttl-security"), section.has("multihop"), ttl_security, multihop)
    {
        mistakes.add_pair(
            second,
            "multihop and ttl-security exclude one another",
            "would send with a smaller TTL than 255",
            "for a neighbor that is n hops away, write ttl-security = n and leave multihop out",
            (first, "would expect a TTL near 255"),
        );
    }
    let client = section.boolean("route-reflector-client", mistakes);
    if let Some(client) = client.as_ref().filter(|client| *client.get_ref() && asn != own) {
        mistakes.add_pair(
            client.span(),
            format!("a route reflector client is in our own AS {own} (RFC 4456), this neighbor is in {asn}"),
            "not for a neighbor of another AS",
            "take route-reflector-client away: routes of another AS are passed on anyway",
            (given_asn.as_ref().map_or(section.span(), Spanned::span), "another AS"),
        );
    }
    let neighbor = Neighbor {
        who: *who.as_ref()?.get_ref(),
        asn,
        port: port.map_or(179, |port| *port.get_ref() as u16),
        local_address: local_address(section, who.as_ref(), mistakes),
        passive: range || passive.is_some_and(Spanned::into_inner),
        hold_time_secs: hold_time.map_or(90, |secs| *secs.get_ref() as u16),
        connect_retry_secs: connect_retry.map_or(5, |secs| *secs.get_ref() as u16),
        password: password(section, mistakes),
        ttl_security,
        multihop,
        route_reflector_client: client.is_some_and(Spanned::into_inner),
        graceful_restart: section.boolean("graceful-restart", mistakes).is_none_or(Spanned::into_inner),
        max_routes: section.integer("max-routes", 1..=u32::MAX, "a number of routes", mistakes).map(Spanned::into_inner),
        description: description(section, mistakes),
        enabled: section.boolean("enabled", mistakes).is_none_or(Spanned::into_inner),
    };
    Some(Spanned::new(who.as_ref()?.span(), neighbor))
}

fn who(section: &Section<'_>, vtep: Option<IpAddr>, mistakes: &mut Mistakes) -> Option<Spanned<NeighborAddress>> {
    match (section.has("address"), section.has("listen-range")) {
        (Some(first), Some(second)) => {
            mistakes.add_pair(
                second,
                "a neighbor has an address or a listen-range, not both",
                "take one of them away",
                "write a [[neighbor]] for each",
                (first, "the other one"),
            );
            None
        }
        (None, None) => {
            mistakes.add(
                section.span(),
                "this neighbor has no address",
                "expected address or listen-range in this section",
                "write address = \"10.0.0.254\", or listen-range = \"10.0.0.0/24\" to accept whoever connects from there",
            );
            None
        }
        (Some(_), None) => {
            let address = section.parsed::<IpAddr>(
                "address",
                "an IP address",
                "write it like \"10.0.0.254\" or \"2001:db8::1\"; names are not resolved",
                mistakes,
            )?;
            host_address("address", &address, mistakes);
            if vtep == Some(*address.get_ref()) {
                mistakes.add(
                    address.span(),
                    "this neighbor is this host: its address is the VTEP in [router]",
                    "expected another host's address",
                    "",
                );
            }
            Some(Spanned::new(address.span(), NeighborAddress::Address(*address.get_ref())))
        }
        (None, Some(_)) => {
            let help = "write it like \"10.0.0.0/24\" or \"2001:db8::/64\"";
            let range = section.parsed::<IpNet>("listen-range", "a range of addresses", help, mistakes)?;
            let whole = range.get_ref().trunc();
            if whole != *range.get_ref() {
                let message = format!("listen-range = \"{}\" has bits set behind its length", range.get_ref());
                mistakes.add(range.span(), message, format!("expected {whole}"), format!("write listen-range = \"{whole}\""));
            }
            Some(Spanned::new(range.span(), NeighborAddress::ListenRange(whole)))
        }
    }
}

fn local_address(section: &Section<'_>, who: Option<&Spanned<NeighborAddress>>, mistakes: &mut Mistakes) -> Option<IpAddr> {
    let local = section.parsed::<IpAddr>("local-address", "an IP address", "write an address of this host", mistakes)?;
    host_address("local-address", &local, mistakes);
    let who = who?;
    let neighbor_is_ipv6 = match who.get_ref() {
        NeighborAddress::Address(address) => address.is_ipv6(),
        NeighborAddress::ListenRange(range) => range.addr().is_ipv6(),
    };
    if neighbor_is_ipv6 != local.get_ref().is_ipv6() {
        let family = if neighbor_is_ipv6 { "IPv6" } else { "IPv4" };
        mistakes.add_pair(
            local.span(),
            "local-address and the neighbor's address are of different families",
            format!("expected an {family} address of this host"),
            "one TCP connection is either IPv4 or IPv6",
            (who.span(), &format!("{family} here")),
        );
    }
    Some(*local.get_ref())
}

fn password(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Password> {
    if let (Some(first), Some(second)) = (section.has("password"), section.has("password-file")) {
        mistakes.add_pair(
            second,
            "password and password-file exclude one another",
            "take one of them away",
            "password-file keeps the secret out of this file",
            (first, "the other one"),
        );
    }
    if let Some(path) = section.path("password-file", mistakes) {
        return Some(Password::File(path.into_inner()));
    }
    let text = section.string("password", "a password", mistakes)?;
    if text.get_ref().is_empty() || text.get_ref().len() > PASSWORD_MAX {
        let message = format!("the password has {} octets", text.get_ref().len());
        mistakes.add(
            text.span(),
            message,
            format!("expected 1 to {PASSWORD_MAX} octets"),
            "the kernel's TCP MD5 takes no other length",
        );
    }
    Some(Password::Text(Secret::new(text.get_ref())))
}

fn description(section: &Section<'_>, mistakes: &mut Mistakes) -> String {
    let Some(text) = section.string("description", "a text", mistakes) else { return String::new() };
    if text.get_ref().len() > DESCRIPTION_MAX || text.get_ref().contains(char::is_control) {
        let expected = format!("expected one line of at most {DESCRIPTION_MAX} octets");
        mistakes.add(text.span(), "this description does not fit into a table", expected, "write a shorter one");
    }
    (*text.get_ref()).to_owned()
}

/// Notes neighbors that are given twice, and ranges that overlap. An address inside a range is fine: it is the nearer match.
pub(super) fn check_all(neighbors: &[Spanned<Neighbor>], mistakes: &mut Mistakes) {
    // Sorted by the first address they cover, an overlap is between neighbors in the list of ranges: two networks are
    // either apart or one within the other.
    let mut ranges: Vec<(IpNet, Range<usize>)> = Vec::new();
    let mut addresses: Vec<(IpAddr, Range<usize>)> = Vec::new();
    for neighbor in neighbors {
        match neighbor.get_ref().who {
            NeighborAddress::Address(address) => addresses.push((address, neighbor.span())),
            NeighborAddress::ListenRange(range) => ranges.push((range, neighbor.span())),
        }
    }
    addresses.sort_by_key(|(address, span)| (*address, span.start));
    for pair in addresses.windows(2) {
        if let [(first, first_span), (second, second_span)] = pair
            && first == second
        {
            mistakes.add_pair(
                second_span.clone(),
                format!("neighbor {second} is given twice"),
                "given again",
                "take one of the two [[neighbor]] sections away",
                (first_span.clone(), "first given"),
            );
        }
    }
    ranges.sort_by_key(|(range, span)| (range.network(), range.prefix_len(), span.start));
    let mut outer: Option<&(IpNet, Range<usize>)> = None;
    for inner in &ranges {
        match outer {
            Some(outer) if outer.0.contains(&inner.0) => {
                let (first, second) = if outer.1.start < inner.1.start { (outer, inner) } else { (inner, outer) };
                mistakes.add_pair(
                    second.1.clone(),
                    format!("the listen-ranges {} and {} overlap", first.0, second.0),
                    "overlaps",
                    "a neighbor must belong to one range only: make them disjoint",
                    (first.1.clone(), "with this one"),
                );
            }
            _ => outer = Some(inner),
        }
    }
}
