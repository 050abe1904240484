//! RFC 7606 whole: what each malformation of an UPDATE costs. Three tables of words and outcomes: every attribute against every
//! malformation that any attribute can have, the malformations that only one has, and those of the UPDATE itself and its routes.
//! `docs/RFC7606.md` is written from them: `EVPND_WRITE_DOCS=1` does it, and without it the test says where they differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use evpnd::wire::attribute::{Disposition, TABLE};
use evpnd::wire::evpn;
use evpnd::wire::update::{UpdateContext, UpdateView};

const REACH: &[u8] = &[0x80, 14, 28, 0, 25, 70, 4, 10, 0, 0, 1, 0, 3, 17, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 32, 10, 0, 0, 1];
const UNREACH: &[u8] = &[0x80, 15, 22, 0, 25, 70, 3, 17, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 32, 10, 0, 0, 1];
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 0];

/// Peer whom an UPDATE comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Our AS, 4-octet numbers.
    Internal,
    /// Another AS.
    External,
    /// Our AS, 2-octet numbers.
    TwoOctet,
}
use Peer::{External, Internal, TwoOctet};

impl Peer {
    const fn context(self) -> UpdateContext {
        UpdateContext { four_octet_as: !matches!(self, TwoOctet), external: matches!(self, External) }
    }
}

/// Outcome: what it costs, and the subcode of NOTIFICATION 3 that goes with it where it costs the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    Nothing,
    Discard(u8),
    Withdraw(u8),
    Reset(u8),
}
use Cost::{Discard as D, Nothing as N, Reset as R, Withdraw as W};

impl Cost {
    fn words(self) -> &'static str {
        match self {
            N => "—",
            D(_) => "discarded",
            W(_) => "withdraw",
            R(_) => "**reset**",
        }
    }
}

fn cost_of_body(body: &[u8], from: Peer) -> Cost {
    let view = match UpdateView::parse(body) {
        Ok(view) => view,
        Err(notification) => {
            assert_eq!(notification.code, 3);
            return R(notification.subcode);
        }
    };
    let routes = view.reach.iter().map(|reach| reach.nlri).chain(view.unreach.iter().map(|unreach| unreach.nlri));
    if routes.flat_map(evpn::routes).any(|route| route.is_err_and(|error| !error.recoverable)) {
        return R(10);
    }
    match view.parse_attributes(&from.context()) {
        Err(error) if error.disposition == Disposition::SessionReset => R(error.notification.subcode),
        Err(error) => {
            assert_eq!(error.disposition, Disposition::TreatAsWithdraw);
            W(error.notification.subcode)
        }
        Ok((_, mistakes)) => mistakes.first().map_or(N, |error| D(error.notification.subcode)),
    }
}

fn body(attributes: &[&[u8]]) -> Vec<u8> {
    let block = attributes.concat();
    [&[0, 0], &(block.len() as u16).to_be_bytes()[..], &block].concat()
}

fn cost(attributes: &[&[u8]], from: Peer) -> Cost {
    cost_of_body(&body(attributes), from)
}

/// The cost of `attribute` beside good ones. It takes the place of the good one of its code, so that it is not the second.
fn among_good(attribute: &[u8], from: Peer) -> Cost {
    let code = attribute.get(1).copied().unwrap_or(0);
    let good: Vec<&[u8]> = [REACH, ORIGIN, AS_PATH].into_iter().filter(|good| good[1] != code).collect();
    cost(&[&good[..], &[attribute]].concat(), from)
}

/// The cost beside nothing but a withdrawal (RFC 7606 §5.2).
fn without_routes(attribute: &[u8], from: Peer) -> Cost {
    cost(&[UNREACH, attribute], from)
}

fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, value.len() as u8], value].concat()
}

/// One attribute from one kind of peer: a good value, and what the good one and each malformation cost.
struct Line {
    name: &'static str,
    from: Peer,
    flags: u8,
    code: u8,
    value: &'static [u8],
    section: &'static str,
    good: Cost,
    /// The optional or the transitive bit is not as its RFC says.
    bad_flags: Cost,
    /// No value.
    empty: Cost,
    /// The last octet of the value is missing.
    short: Cost,
    /// One octet more.
    long: Cost,
    /// A second one.
    twice: Cost,
    /// It is the last one and its length leads past the end of the attributes (RFC 7606 §4).
    overrun: Cost,
}

#[rustfmt::skip]
const MATRIX: &[Line] = &[
    line("ORIGIN",                     Internal, 0x40,  1, &[0],                  "7.1",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("AS_PATH",                    Internal, 0x40,  2, &[2, 1, 0, 0, 0, 1],   "7.2",             [N,    W(4), N,    W(11), W(11), D(1), W(1)]),
    line("NEXT_HOP",                   Internal, 0x40,  3, &[10, 0, 0, 9],        "7.3",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("MULTI_EXIT_DISC",            Internal, 0x80,  4, &[0, 0, 0, 1],         "7.4",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("LOCAL_PREF",                 Internal, 0x40,  5, &[0, 0, 0, 1],         "7.5",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("LOCAL_PREF",                 External, 0x40,  5, &[0, 0, 0, 1],         "7.5",             [D(9), D(9), D(9), D(9),  D(9),  D(9), W(1)]),
    line("ATOMIC_AGGREGATE",           Internal, 0x40,  6, &[],                   "7.6, 3 f",        [N,    D(4), N,    N,     D(5),  D(1), W(1)]),
    line("AGGREGATOR",                 Internal, 0xc0,  7, &[0, 0, 0, 1, 10, 0, 0, 1], "7.7, 3 f",   [N,    D(4), D(5), D(5),  D(5),  D(1), W(1)]),
    line("AGGREGATOR",                 TwoOctet, 0xc0,  7, &[0, 1, 10, 0, 0, 1],  "7.7, 3 f",        [N,    D(4), D(5), D(5),  D(5),  D(1), W(1)]),
    line("COMMUNITIES",                Internal, 0xc0,  8, &[0, 0, 0, 1],         "7.8",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("ORIGINATOR_ID",              Internal, 0x80,  9, &[10, 0, 0, 1],        "7.9",             [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("ORIGINATOR_ID",              External, 0x80,  9, &[10, 0, 0, 1],        "7.9",             [D(9), D(9), D(9), D(9),  D(9),  D(9), W(1)]),
    line("CLUSTER_LIST",               Internal, 0x80, 10, &[10, 0, 0, 1],        "7.10",            [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("CLUSTER_LIST",               External, 0x80, 10, &[10, 0, 0, 1],        "7.10",            [D(9), D(9), D(9), D(9),  D(9),  D(9), W(1)]),
    line("MP_REACH_NLRI",              Internal, 0x80, 14, REACH_VALUE,           "5.3, 7.11, 3 g",  [N,    R(4), R(9), R(10), R(10), R(1), R(1)]),
    line("MP_UNREACH_NLRI",            Internal, 0x80, 15, UNREACH_VALUE,         "5.3, 7.12, 3 g",  [N,    R(4), R(9), R(10), R(10), R(1), R(1)]),
    line("EXTENDED_COMMUNITIES",       Internal, 0xc0, 16, &[3, 12, 0, 0, 0, 0, 0, 8], "7.14",       [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("AS4_PATH",                   TwoOctet, 0xc0, 17, &[2, 1, 0, 1, 0, 0],   "RFC 6793 §6",     [N,    D(4), D(5), D(9),  D(9),  D(1), W(1)]),
    line("AS4_PATH",                   Internal, 0xc0, 17, &[2, 1, 0, 1, 0, 0],   "RFC 6793 §4.1",   [D(9), D(9), D(9), D(9),  D(9),  D(9), W(1)]),
    line("AS4_AGGREGATOR",             TwoOctet, 0xc0, 18, &[0, 1, 0, 0, 10, 0, 0, 1], "RFC 6793 §6", [N,   D(4), D(5), D(5),  D(5),  D(1), W(1)]),
    line("AS4_AGGREGATOR",             Internal, 0xc0, 18, &[0, 1, 0, 0, 10, 0, 0, 1], "RFC 6793 §4.1", [D(9), D(9), D(9), D(9), D(9), D(9), W(1)]),
    line("PMSI_TUNNEL",                Internal, 0xc0, 22, &[0, 6, 0, 0, 1, 10, 0, 0, 1], "RFC 6514 §5", [N, W(4), W(5), W(9),  W(9),  D(1), W(1)]),
    line("IPV6_EXTENDED_COMMUNITIES",  Internal, 0xc0, 25, &[0; 20],              "7.15",            [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("LARGE_COMMUNITY",            Internal, 0xc0, 32, &[0; 12],              "RFC 8092 §6",     [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("ONLY_TO_CUSTOMER",           Internal, 0xc0, 35, &[0, 0, 0, 1],         "RFC 9234 §5",     [N,    W(4), W(5), W(5),  W(5),  D(1), W(1)]),
    line("unknown, optional",          Internal, 0xc0, 99, &[1, 2, 3],            "RFC 4271 §5",     [N,    R(2), N,    N,     N,     D(1), W(1)]),
    line("unknown, well-known",        Internal, 0x40, 99, &[1, 2, 3],            "RFC 4271 §6.3",   [R(2), N,    R(2), R(2),  R(2),  R(2), W(1)]),
];

const REACH_VALUE: &[u8] = REACH.split_at(3).1;
const UNREACH_VALUE: &[u8] = UNREACH.split_at(3).1;

const fn line(
    name: &'static str,
    from: Peer,
    flags: u8,
    code: u8,
    value: &'static [u8],
    section: &'static str,
    [good, bad_flags, empty, short, long, twice, overrun]: [Cost; 7],
) -> Line {
    Line { name, from, flags, code, value, section, good, bad_flags, empty, short, long, twice, overrun }
}

impl Line {
    /// Every malformation: its name, the octets, and what it costs.
    fn malformations(&self) -> Vec<(&'static str, Vec<u8>, Cost)> {
        let of = |value: &[u8]| attribute(self.flags, self.code, value);
        let good = of(self.value);
        let mut all = vec![
            ("good", good.clone(), self.good),
            // The partial bit and the lower four are no conflict (RFC 4271 §4.3).
            ("partial", attribute(self.flags | 0x2f, self.code, self.value), self.good),
            ("empty", of(&[]), self.empty),
            ("long", of(&[self.value, &[0]].concat()), self.long),
            ("twice", [&good[..], &good].concat(), self.twice),
        ];
        if let Some((_, short)) = self.value.split_last() {
            all.push(("short", of(&self.value[..short.len()]), self.short));
        }
        let known = TABLE.iter().any(|row| row.code == self.code);
        // Of an attribute that nobody knows only the optional bit says something to us.
        for flip in if known { &[0x80, 0x40, 0xc0][..] } else { &[0x80] } {
            all.push(("flags", attribute(self.flags ^ flip, self.code, self.value), self.bad_flags));
        }
        let mut overrun = good.clone();
        overrun[2] += 1;
        all.push(("overrun", overrun, self.overrun));
        // A head cut off: of three octets, and of four with the long length (RFC 7606 §4).
        all.push(("overrun", good[..2].to_vec(), self.overrun));
        all.push(("overrun", vec![self.flags | 0x10, self.code, 0], self.overrun));
        all
    }
}

#[test]
fn every_attribute_against_every_malformation() {
    for row in &TABLE {
        assert!(MATRIX.iter().any(|line| (line.code, line.name) == (row.code, row.name)), "{} has no line", row.name);
    }
    for line in MATRIX {
        let mp = matches!(line.code, 14 | 15);
        for (what, octets, wanted) in line.malformations() {
            if mp && what == "partial" {
                continue;
            }
            let name = format!("{} ({}) {what} {octets:02x?} from {:?}", line.name, line.code, line.from);
            assert_eq!(among_good(&octets, line.from), wanted, "{name}");
            // RFC 7606 §5.2: without routes that were read, what would cost them costs the session.
            if !mp {
                let wanted = if let W(subcode) = wanted { R(subcode) } else { wanted };
                assert_eq!(without_routes(&octets, line.from), wanted, "{name}, without routes");
            }
        }
    }
}

/// A malformation that only one attribute, or the UPDATE itself, has.
struct Special {
    what: &'static str,
    from: Peer,
    octets: Vec<u8>,
    section: &'static str,
    wanted: Cost,
}

fn special(what: &'static str, from: Peer, octets: &[u8], section: &'static str, wanted: Cost) -> Special {
    Special { what, from, octets: octets.to_vec(), section, wanted }
}

/// Octets of one attribute, which stands among good ones.
#[rustfmt::skip]
fn values() -> Vec<Special> {
    let path = |value: &[u8]| attribute(0x40, 2, value);
    let reach = |value: &[u8]| attribute(0x80, 14, value);
    let next_hop = |len: u8| reach(&[&[0, 25, 70, len][..], &vec![1; usize::from(len)], &[0, 3, 0]].concat());
    vec![
        special("ORIGIN that is not 0, 1 or 2", Internal, &[0x40, 1, 1, 3], "7.1", W(6)),
        special("AS_PATH with a segment of unknown type", Internal, &path(&[5, 1, 0, 0, 0, 1]), "7.2", W(11)),
        special("AS_PATH with a segment of type 0", Internal, &path(&[0, 1, 0, 0, 0, 1]), "7.2", W(11)),
        special("AS_PATH whose segment runs past its end", Internal, &path(&[2, 2, 0, 0, 0, 1]), "7.2", W(11)),
        special("AS_PATH with one octet after its last segment", Internal, &path(&[2, 1, 0, 0, 0, 1, 2]), "7.2", W(11)),
        special("AS_PATH with a segment of no AS", Internal, &path(&[2, 0]), "7.2", W(11)),
        special("AS_PATH with a second segment of no AS", Internal, &path(&[2, 1, 0, 0, 0, 1, 1, 0]), "7.2", W(11)),
        special("AS_PATH with 4-octet numbers from a 2-octet speaker", TwoOctet, &path(&[2, 1, 0, 0, 0, 1]), "7.2", W(11)),
        special("AS_PATH with 2-octet numbers from a 4-octet speaker", Internal, &path(&[2, 1, 0, 1]), "7.2", W(11)),
        special("AS_PATH with AS 0", Internal, &path(&[2, 1, 0, 0, 0, 0]), "RFC 7607 §2", W(11)),
        special("AS_PATH with a confederation's segment, from outside", External, &path(&[3, 1, 0, 0, 0, 1]), "RFC 5065 §5", W(11)),
        special("AS_PATH with a confederation's segment, from inside", Internal, &path(&[3, 1, 0, 0, 0, 1]), "RFC 5065 §5", N),
        special("AGGREGATOR of 8 octets from a 2-octet speaker", TwoOctet, &[0xc0, 7, 8, 0, 0, 0, 1, 10, 0, 0, 1], "7.7", D(5)),
        special("AGGREGATOR with AS 0", Internal, &[0xc0, 7, 8, 0, 0, 0, 0, 10, 0, 0, 1], "RFC 7607 §2", D(9)),
        special("AS4_PATH with a segment of no AS", TwoOctet, &[0xc0, 17, 2, 2, 0], "RFC 6793 §6", D(9)),
        special("AS4_PATH with a segment of unknown type", TwoOctet, &[0xc0, 17, 6, 9, 1, 0, 1, 0, 0], "RFC 6793 §6", D(9)),
        special("AS4_AGGREGATOR with AS 0", TwoOctet, &[0xc0, 18, 8, 0, 0, 0, 0, 10, 0, 0, 1], "RFC 7607 §2", D(9)),
        special("EXTENDED_COMMUNITIES of a type nobody knows", Internal, &[0xc0, 16, 8, 0x99, 2, 0, 1, 0, 0, 0, 1], "7.14", N),
        special("PMSI_TUNNEL: ingress replication to half an address", Internal, &[0xc0, 22, 7, 0, 6, 0, 0, 1, 10, 0], "RFC 6514 §5", W(9)),
        special("PMSI_TUNNEL of a type nobody knows (ours: kept)", Internal, &[0xc0, 22, 6, 0, 99, 0, 0, 1, 7], "RFC 6514 §5", N),
        special("MP_REACH_NLRI with no next hop", Internal, &next_hop(0), "7.11", R(9)),
        special("MP_REACH_NLRI with a next hop of 5 octets", Internal, &next_hop(5), "7.11", R(9)),
        special("MP_REACH_NLRI with a next hop of 12 octets", Internal, &next_hop(12), "7.11", R(9)),
        special("MP_REACH_NLRI with a next hop of 24 octets", Internal, &next_hop(24), "7.11", R(9)),
        special("MP_REACH_NLRI shorter than its next hop", Internal, &reach(&[0, 25, 70, 4, 10, 0]), "7.11", R(9)),
        special("MP_REACH_NLRI shorter than 5 octets", Internal, &reach(&[0, 25, 70, 0]), "5.3", R(9)),
        special("MP_REACH_NLRI without routes", Internal, &reach(&[0, 25, 70, 4, 10, 0, 0, 1, 0]), "5.2", N),
        special("MP_REACH_NLRI of another family", Internal, &reach(&[0, 1, 128, 1, 7, 0]), "RFC 4760 §6", N),
        special("MP_UNREACH_NLRI shorter than 3 octets", Internal, &[0x80, 15, 2, 0, 25], "5.3", R(9)),
        special("a route that runs past the end of MP_REACH_NLRI", Internal, &reach(&[0, 25, 70, 4, 10, 0, 0, 1, 0, 2, 33, 0]), "5.3, 3 j", R(10)),
        special("one octet after the last route of MP_REACH_NLRI", Internal, &reach(&[0, 25, 70, 4, 10, 0, 0, 1, 0, 2]), "5.3, 3 j", R(10)),
        special("a route that runs past the end of MP_UNREACH_NLRI", Internal, &[0x80, 15, 5, 0, 25, 70, 2, 33], "5.3, 3 j", R(10)),
    ]
}

/// Whole bodies.
#[rustfmt::skip]
fn structures() -> Vec<Special> {
    let behind = |mut octets: Vec<u8>, more: &[u8]| { octets.extend_from_slice(more); octets };
    let discarded: &[u8] = &[0xc0, 7, 1, 0];
    let withdrawn: &[u8] = &[0x80, 4, 1, 0];
    let fatal: &[u8] = &[0x40, 99, 0];
    let all = |more: &[&[u8]]| body(&[&[REACH, ORIGIN, AS_PATH][..], more].concat());
    vec![
        special("withdrawn routes longer than the message", Internal, &[0, 9, 0, 0], "3 b", R(1)),
        special("attributes longer than the message", Internal, &[0, 0, 0xff, 0xff, 0x40], "3 b", R(1)),
        special("a body of one octet", Internal, &[0], "3 b", R(1)),
        special("no ORIGIN", Internal, &body(&[REACH, AS_PATH]), "3 d", W(3)),
        special("no AS_PATH", Internal, &body(&[REACH, ORIGIN]), "3 d", W(3)),
        special("no NEXT_HOP (it is in MP_REACH_NLRI)", Internal, &all(&[]), "3 d", N),
        special("no LOCAL_PREF from our own AS", Internal, &all(&[]), "RFC 4271 §5.1.5", N),
        special("MP_REACH_NLRI twice", Internal, &all(&[REACH]), "3 g", R(1)),
        special("MP_UNREACH_NLRI twice", Internal, &body(&[UNREACH, UNREACH]), "3 g", R(1)),
        special("ORIGIN twice, the second one wrong", Internal, &all(&[&[0x40, 1, 1, 99]]), "3 g", D(1)),
        special("ORIGIN twice, the first one wrong", Internal, &body(&[REACH, &[0x40, 1, 1, 99], ORIGIN, AS_PATH]), "3 g", W(6)),
        special("mistakes that cost an attribute and the routes", Internal, &all(&[discarded, withdrawn]), "3 h", W(5)),
        special("mistakes that cost an attribute, the routes and the session", Internal, &all(&[discarded, withdrawn, fatal]), "3 h", R(2)),
        special("the same in another order", Internal, &all(&[fatal, withdrawn, discarded]), "3 h", R(2)),
        special("an IPv4 prefix of 33 bits among the withdrawn", Internal, &[0, 1, 33, 0, 0], "3 i, 5.3", R(10)),
        special("an IPv4 prefix cut off among the withdrawn", Internal, &[0, 2, 24, 10, 0, 0], "3 i, 5.3", R(10)),
        special("an IPv4 prefix of 33 bits announced", Internal, &[0, 0, 0, 0, 33, 10, 0, 0, 0, 0], "5.3", R(10)),
        special("an IPv4 prefix cut off among the announced", Internal, &[0, 0, 0, 0, 32, 10, 0, 0], "5.3", R(10)),
        special("a cut off attribute after the routes, IPv4 prefixes behind it", Internal, &behind(all(&[&[0x80, 4, 4, 0, 0]]), &[8, 10]), "4", W(1)),
        special("a cut off attribute before the routes", Internal, &body(&[&[0x80, 4, 255, 0], REACH, ORIGIN, AS_PATH]), "4, 3 j", R(1)),
        special("a cut off attribute and no routes", Internal, &body(&[&[0x80, 4, 4, 0]]), "5.2", R(1)),
        special("withdrawals with a mistake that would cost routes", Internal, &body(&[UNREACH, &[0x40, 1, 1, 9]]), "5.2", R(6)),
        special("withdrawals with a mistake that costs an attribute", Internal, &body(&[UNREACH, discarded]), "5.2", D(5)),
        special("withdrawals with attributes that are not complete", Internal, &body(&[UNREACH, ORIGIN]), "5.2", N),
        special("MP_UNREACH_NLRI before MP_REACH_NLRI", Internal, &body(&[UNREACH, REACH, ORIGIN, AS_PATH]), "5.1", N),
        special("MP_REACH_NLRI behind all others", Internal, &body(&[ORIGIN, AS_PATH, REACH]), "5.1", N),
        special("nothing at all (End-of-RIB of IPv4)", Internal, &body(&[]), "5.2", N),
    ]
}

#[test]
fn every_special_malformation() {
    for case in values() {
        assert_eq!(among_good(&case.octets, case.from), case.wanted, "{} {:02x?}", case.what, case.octets);
    }
    for case in structures() {
        assert_eq!(cost_of_body(&case.octets, case.from), case.wanted, "{} {:02x?}", case.what, case.octets);
    }
}

/// Routes with a good length and a wrong inside (the others of their field stand): what becomes of them.
#[rustfmt::skip]
const ROUTES: &[(&str, &[u8], &str)] = &[
    ("type 2 with labels of 0, 1, 2, 4, 5 or more than 6 octets", &[2, 31, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 2, 0, 0, 0, 0, 1, 0, 7], "withdrawn by its name"),
    ("type 2 with a MAC length other than 48", &[2, 33, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 2, 0, 0, 0, 0, 1, 0, 0, 0, 7], "stepped over"),
    ("type 2 with an IP length other than 0, 32 and 128", &[2, 33, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 2, 0, 0, 0, 0, 1, 31, 0, 0, 7], "stepped over"),
    ("type 2 that ends inside its IP address", &[2, 33, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 2, 0, 0, 0, 0, 1, 32, 0, 0, 7], "stepped over"),
    ("type 1 with a label of another length than 3", &[1, 23, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], "withdrawn by its name"),
    ("type 1 shorter than its name", &[1, 3, 0, 1, 10], "stepped over"),
    ("type 3 whose address and its length disagree", &[3, 17, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 128, 10, 0, 0, 1], "stepped over"),
    ("type 4 whose address and its length disagree", &[4, 4, 0, 1, 10, 0], "stepped over"),
    ("type 5 of another length than 34 and 58", &[5, 2, 0, 1], "stepped over"),
    ("type 5 with a prefix longer than its address", &[5, 34, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 33, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], "stepped over"),
    ("a type that nobody knows, of any length (ours: kept and passed on)", &[99, 3, 1, 2, 3], "kept"),
];

#[test]
fn every_wrong_route_inside_a_good_length() {
    let good = &REACH[12..];
    for (what, route, outcome) in ROUTES {
        let field = [good, route, good].concat();
        let read: Vec<_> = evpn::routes(&field).collect();
        assert!(read.len() == 3 && read[0].is_ok() && read[2] == read[0], "{what}: the others stand");
        match read[1] {
            Ok(route) => assert_eq!((*outcome, route.route_type()), ("kept", 99), "{what}"),
            Err(error) => {
                assert!(error.recoverable && error.offset == good.len(), "{what}");
                let name = error.name_in(&field);
                assert_eq!(*outcome, if name.is_some() { "withdrawn by its name" } else { "stepped over" }, "{what}");
                assert!(name.is_none_or(|name| name.route_type() == route[0]));
            }
        }
    }
}

/// Equal pieces get equal answers: a table that knows good pieces by their octets never takes a broken block for a good one.
#[test]
fn a_broken_tail_is_reported_from_the_pieces() {
    let pieces = |body: &[u8]| UpdateView::parse(body).unwrap().attributes.pieces.concat();
    let good = body(&[REACH, ORIGIN, AS_PATH]);
    assert_ne!(pieces(&good), pieces(&body(&[REACH, ORIGIN, AS_PATH, &[0x80]])));
    let twice = body(&[REACH, ORIGIN, AS_PATH, &[0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2], &[0x80, 4, 0]]);
    let (attributes, mistakes) = UpdateView::parse(&twice).unwrap().parse_attributes(&Internal.context()).unwrap();
    assert_eq!((attributes.med, mistakes.len()), (Some(1), 1), "said once, and the first counts");
}

const BEGIN: &str = "<!-- written by tests/wire_rfc7606.rs -->\n";
const END: &str = "<!-- end -->\n";

fn rendered() -> String {
    let mut out = String::from(BEGIN);
    let from = |from: Peer| match from {
        Internal => "",
        External => " from an external peer",
        TwoOctet => " from a 2-octet speaker",
    };
    out += "\n### Every attribute against every malformation\n\n";
    out += "| attribute | good | wrong flags | empty | too short | too long | twice | runs past the end | by |\n";
    out += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for line in MATRIX {
        let source = match (line.name, line.from) {
            ("AS4_PATH" | "AS4_AGGREGATOR", Internal) => " from a 4-octet speaker",
            (_, source) => from(source),
        };
        let section = if line.section.starts_with("RFC") { line.section.to_owned() } else { format!("§{}", line.section) };
        let short = if line.value.is_empty() { "" } else { line.short.words() };
        let costs = [line.good, line.bad_flags, line.empty].map(Cost::words).join(" | ");
        let rest = [line.long, line.twice, line.overrun].map(Cost::words).join(" | ");
        let _ = writeln!(out, "| {}{source} | {costs} | {short} | {rest} | {section} |", line.name);
    }
    for (title, cases) in [("Values", values()), ("The UPDATE itself", structures())] {
        let _ = write!(out, "\n### {title}\n\n| what | outcome | by |\n| --- | --- | --- |\n");
        for case in cases {
            let section = if case.section.starts_with("RFC") { case.section.to_owned() } else { format!("§{}", case.section) };
            let _ = writeln!(out, "| {} | {} | {section} |", case.what, case.wanted.words());
        }
    }
    out += "\n### Routes with a good length and a wrong inside\n\n| what | outcome |\n| --- | --- |\n";
    for (what, _, outcome) in ROUTES {
        let _ = writeln!(out, "| {what} | {outcome} |");
    }
    out + "\n" + END
}

#[test]
fn the_document_says_what_is_tested() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RFC7606.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/RFC7606.md has its mark of the beginning");
    let (_, after) = rest.split_once(END).expect("docs/RFC7606.md has its mark of the end");
    let wanted = format!("{before}{}{after}", rendered());
    if std::env::var_os("EVPND_WRITE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "docs/RFC7606.md is behind: run EVPND_WRITE_DOCS=1 cargo test --test wire_rfc7606");
    }
}
