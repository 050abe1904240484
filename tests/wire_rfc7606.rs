//! RFC 7606 line by line: what each malformation of an UPDATE costs. One line of words each, so that the list can be read beside
//! the RFC; the sections are in the order of the RFC.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use evpnd::wire::attribute::Disposition::{self, AttributeDiscard, SessionReset, TreatAsWithdraw};
use evpnd::wire::update::{UpdateContext, UpdateView};

const INTERNAL: UpdateContext = UpdateContext { four_octet_as: true, external: false };
const EXTERNAL: UpdateContext = UpdateContext { four_octet_as: true, external: true };
const TWO_OCTET: UpdateContext = UpdateContext { four_octet_as: false, external: false };

const REACH: &[u8] = &[0x80, 14, 28, 0, 25, 70, 4, 10, 0, 0, 1, 0, 3, 17, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 32, 10, 0, 0, 1];
const UNREACH: &[u8] = &[0x80, 15, 22, 0, 25, 70, 3, 17, 0, 1, 10, 0, 0, 1, 0, 100, 0, 0, 0, 0, 32, 10, 0, 0, 1];
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 0];

/// What an UPDATE costs: nothing, or the worst disposition with the attribute's code and the subcode of a NOTIFICATION 3/x.
type Cost = Option<(Disposition, u8, u8)>;

fn cost_of_body(body: &[u8], context: &UpdateContext) -> Cost {
    let view = match UpdateView::parse(body) {
        Ok(view) => view,
        Err(notification) => {
            assert_eq!(notification.code, 3);
            return Some((SessionReset, 0, notification.subcode));
        }
    };
    match view.parse_attributes(context) {
        Err(error) => Some((error.disposition, error.code, error.notification.subcode)),
        Ok((_, mistakes)) => {
            assert!(mistakes.iter().all(|error| error.disposition == AttributeDiscard));
            mistakes.first().map(|error| (AttributeDiscard, error.code, error.notification.subcode))
        }
    }
}

fn body(attributes: &[&[u8]]) -> Vec<u8> {
    let block = attributes.concat();
    [&[0, 0], &(block.len() as u16).to_be_bytes()[..], &block].concat()
}

fn cost(attributes: &[&[u8]], context: &UpdateContext) -> Cost {
    cost_of_body(&body(attributes), context)
}

/// The cost of attributes that come with a good MP_REACH_NLRI, ORIGIN and AS_PATH.
fn extra(attribute: &[u8], context: &UpdateContext) -> Cost {
    cost(&[REACH, ORIGIN, AS_PATH, attribute], context)
}

fn withdraw(code: u8, subcode: u8) -> Cost {
    Some((TreatAsWithdraw, code, subcode))
}

fn discard(code: u8, subcode: u8) -> Cost {
    Some((AttributeDiscard, code, subcode))
}

fn reset(code: u8, subcode: u8) -> Cost {
    Some((SessionReset, code, subcode))
}

#[test]
fn good_ones_cost_nothing() {
    assert_eq!(cost(&[REACH, ORIGIN, AS_PATH], &INTERNAL), None);
    assert_eq!(cost(&[UNREACH], &INTERNAL), None);
    assert_eq!(cost(&[UNREACH, REACH, ORIGIN, AS_PATH], &INTERNAL), None);
    assert_eq!(cost(&[], &INTERNAL), None);
    // Attributes beside a withdrawal are allowed and need not be complete.
    assert_eq!(cost(&[UNREACH, ORIGIN], &INTERNAL), None);
    // The lower four bits of the flags are ignored, and a short attribute may say its length in two octets (RFC 4271 §4.3).
    assert_eq!(cost(&[REACH, &[0x4f, 1, 1, 0], &[0x5f, 2, 0, 0]], &INTERNAL), None);
}

#[test]
fn section_3_b_lengths_that_exceed_the_message() {
    for body in [&[0, 1][..], &[0, 1, 0, 0], &[0, 0, 0, 1], &[0, 0, 0xff, 0xff, 0x40], &[0], &[]] {
        assert_eq!(cost_of_body(body, &INTERNAL), reset(0, 1), "{body:?}");
    }
}

#[test]
fn section_3_c_flags() {
    for (flags, code, value) in [(0xc0, 1, &[0][..]), (0x00, 1, &[0]), (0x80, 1, &[0])] {
        let attribute = [&[flags, code, value.len() as u8], value].concat();
        assert_eq!(cost(&[REACH, &attribute, AS_PATH], &INTERNAL), withdraw(1, 4), "{flags:#x}");
    }
    let cases: [(&[u8], Cost); 13] = [
        (&[0xc0, 3, 4, 10, 0, 0, 1], withdraw(3, 4)),
        (&[0xc0, 4, 4, 0, 0, 0, 1], withdraw(4, 4)),
        (&[0x40, 4, 4, 0, 0, 0, 1], withdraw(4, 4)),
        (&[0xc0, 5, 4, 0, 0, 0, 1], withdraw(5, 4)),
        // §3 f: whatever is wrong with these two, they are discarded.
        (&[0xc0, 6, 0], discard(6, 4)),
        (&[0x80, 7, 8, 0, 0, 0, 1, 10, 0, 0, 1], discard(7, 4)),
        (&[0x80, 8, 4, 0, 0, 0, 1], withdraw(8, 4)),
        (&[0xc0, 9, 4, 10, 0, 0, 1], withdraw(9, 4)),
        (&[0xc0, 10, 4, 10, 0, 0, 1], withdraw(10, 4)),
        (&[0x80, 16, 8, 3, 12, 0, 0, 0, 0, 0, 8], withdraw(16, 4)),
        (&[0x80, 22, 9, 0, 6, 0, 0, 1, 10, 0, 0, 1], withdraw(22, 4)),
        (&[0x80, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], withdraw(32, 4)),
        // The partial bit where it has no business is no conflict.
        (&[0x60, 5, 4, 0, 0, 0, 1], None),
    ];
    for (attribute, wanted) in cases {
        assert_eq!(extra(attribute, &INTERNAL), wanted, "{attribute:?}");
    }
    // MP_REACH_NLRI and MP_UNREACH_NLRI: the routes are known all the same, so they are withdrawn.
    for flags in [0xc0, 0x40, 0x00] {
        let reach = [&[flags], &REACH[1..]].concat();
        let unreach = [&[flags], &UNREACH[1..]].concat();
        assert_eq!(cost(&[&reach, ORIGIN, AS_PATH], &INTERNAL), withdraw(14, 4));
        assert_eq!(cost(&[&unreach], &INTERNAL), withdraw(15, 4));
        assert_eq!(cost(&[REACH, &unreach, ORIGIN, AS_PATH], &INTERNAL), withdraw(15, 4));
    }
}

#[test]
fn section_3_d_mandatory_attributes() {
    assert_eq!(cost(&[REACH, AS_PATH], &INTERNAL), withdraw(1, 3));
    assert_eq!(cost(&[REACH, ORIGIN], &INTERNAL), withdraw(2, 3));
    assert_eq!(cost(&[REACH], &INTERNAL), withdraw(1, 3));
}

#[test]
fn section_3_g_repeated_attributes() {
    assert_eq!(cost(&[REACH, ORIGIN, AS_PATH, REACH], &INTERNAL), reset(0, 1));
    assert_eq!(cost(&[UNREACH, UNREACH], &INTERNAL), reset(0, 1));
    // With wrong flags it is still the second one.
    let wrong = [&[0xc0], &REACH[1..]].concat();
    assert_eq!(cost(&[REACH, &wrong, ORIGIN, AS_PATH], &INTERNAL), reset(0, 1));
    // Any other: the first counts, whatever the second says.
    assert_eq!(extra(&[0x40, 1, 1, 99], &INTERNAL), discard(1, 1));
    assert_eq!(cost(&[REACH, &[0x40, 1, 1, 99], ORIGIN, AS_PATH], &INTERNAL), withdraw(1, 6));
    assert_eq!(extra(&[0xc0, 99, 1, 7, 0xc0, 99, 1, 8], &INTERNAL), discard(99, 1));
    let body = body(&[REACH, ORIGIN, AS_PATH, &[0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2], &[0x80, 4, 0]]);
    let (attributes, mistakes) = UpdateView::parse(&body).unwrap().parse_attributes(&INTERNAL).unwrap();
    assert_eq!((attributes.med, mistakes.len()), (Some(1), 1));
}

#[test]
fn section_3_h_the_strongest_counts() {
    let discarded: &[u8] = &[0xc0, 7, 1, 0];
    let withdrawn: &[u8] = &[0x80, 4, 1, 0];
    let fatal: &[u8] = &[0x40, 99, 0];
    for order in [[discarded, withdrawn, fatal], [fatal, withdrawn, discarded], [withdrawn, fatal, discarded]] {
        assert_eq!(extra(&order.concat(), &INTERNAL), reset(99, 2));
    }
    assert_eq!(extra(&[discarded, withdrawn].concat(), &INTERNAL), withdraw(4, 5));
}

#[test]
fn section_3_i_withdrawn_routes_and_5_3_nlri() {
    assert_eq!(cost_of_body(&[0, 1, 33, 0, 0], &INTERNAL), reset(0, 10));
    assert_eq!(cost_of_body(&[0, 2, 24, 10, 0, 0], &INTERNAL), reset(0, 10));
    assert_eq!(cost_of_body(&[0, 0, 0, 0, 33, 10, 0, 0, 0, 0], &INTERNAL), reset(0, 10));
    assert_eq!(cost_of_body(&[0, 0, 0, 0, 32, 10, 0, 0], &INTERNAL), reset(0, 10));
}

#[test]
fn section_4_attribute_lengths() {
    // The last attribute runs past the end, or fewer octets than an attribute's head remain: the routes are known and withdrawn.
    for tail in [&[0x80, 4, 4, 0, 0][..], &[0x40], &[0x40, 5], &[0x50, 5, 0], &[0x80, 4, 255], &[0xd0, 8, 255, 255, 0]] {
        let wanted = withdraw(tail.get(1).copied().unwrap_or(0), 1);
        assert_eq!(extra(tail, &INTERNAL), wanted, "{tail:?}");
        // §3 j, §5.2: without reachable routes we cannot be sure that there were none.
        assert_eq!(cost(&[UNREACH, tail], &INTERNAL), reset(0, 1), "{tail:?}");
        assert_eq!(cost(&[tail], &INTERNAL), reset(0, 1), "{tail:?}");
        // The routes stand behind the broken one.
        assert_eq!(cost(&[tail, REACH], &INTERNAL).map(|cost| cost.0), Some(SessionReset), "{tail:?}");
    }
    // It is the MP attribute that runs past the end.
    assert_eq!(cost(&[ORIGIN, AS_PATH, &REACH[..20]], &INTERNAL), reset(0, 1));
    assert_eq!(extra(&UNREACH[..20], &INTERNAL), reset(0, 1));
    assert_eq!(extra(&[0x90, 15, 0], &INTERNAL), reset(0, 1));
    // The total length is relied upon: what stands behind it is NLRI.
    let mut body = body(&[REACH, ORIGIN, AS_PATH, &[0x80, 4, 4, 0, 0]]);
    body.extend_from_slice(&[8, 10]);
    assert_eq!(cost_of_body(&body, &INTERNAL), withdraw(4, 1));
    assert_eq!(UpdateView::parse(&body).unwrap().nlri_ipv4, [8, 10]);
    // Zero length.
    for (code, flags) in [
        (1, 0x40),
        (3, 0x40),
        (4, 0x80),
        (5, 0x40),
        (8, 0xc0),
        (9, 0x80),
        (10, 0x80),
        (16, 0xc0),
        (22, 0xc0),
        (25, 0xc0),
        (32, 0xc0),
        (35, 0xc0),
    ] {
        let attribute = [flags, code, 0];
        let found = if code == 1 { cost(&[REACH, &attribute, AS_PATH], &INTERNAL) } else { extra(&attribute, &INTERNAL) };
        assert_eq!(found, withdraw(code, 5));
    }
    assert_eq!(extra(&[0xc0, 7, 0], &INTERNAL), discard(7, 5));
    assert_eq!(extra(&[0x40, 6, 0], &INTERNAL), None);
    assert_eq!(extra(&[0x80, 14, 0], &INTERNAL), reset(0, 9));
    assert_eq!(extra(&[0x80, 15, 0], &INTERNAL), reset(0, 9));
}

#[test]
fn section_5_2_no_reachable_routes() {
    // A mistake that is more than an attribute discard may have hidden the routes.
    assert_eq!(cost(&[UNREACH, &[0x40, 1, 1, 9]], &INTERNAL), reset(1, 6));
    assert_eq!(cost(&[&[0x80, 4, 1, 9]], &INTERNAL), reset(4, 5));
    assert_eq!(cost(&[UNREACH, &[0xc0, 7, 1, 9]], &INTERNAL), discard(7, 5));
    let empty_reach: &[u8] = &[0x80, 14, 9, 0, 25, 70, 4, 10, 0, 0, 1, 0];
    assert_eq!(cost(&[empty_reach, ORIGIN], &INTERNAL), reset(2, 3));
    assert_eq!(cost(&[empty_reach, ORIGIN, AS_PATH], &INTERNAL), None);
}

#[test]
fn section_7_1_origin() {
    assert_eq!(cost(&[REACH, &[0x40, 1, 1, 3], AS_PATH], &INTERNAL), withdraw(1, 6));
    assert_eq!(cost(&[REACH, &[0x40, 1, 2, 0, 0], AS_PATH], &INTERNAL), withdraw(1, 5));
}

#[test]
fn section_7_2_as_path() {
    let path = |value: &[u8], context: &UpdateContext| {
        let attribute = [&[0x40, 2, value.len() as u8], value].concat();
        cost(&[REACH, ORIGIN, &attribute], context)
    };
    assert_eq!(path(&[2, 1, 0, 0, 0, 1], &INTERNAL), None);
    assert_eq!(path(&[2, 1, 0, 1], &TWO_OCTET), None);
    for value in [
        &[5, 1, 0, 0, 0, 1][..],   // unknown segment type
        &[0, 1, 0, 0, 0, 1],       // the same
        &[2, 2, 0, 0, 0, 1],       // overrun
        &[2, 1, 0, 0, 0, 1, 2],    // underrun: one octet remains
        &[2, 0],                   // no AS in the segment
        &[2, 1, 0, 0, 0, 1, 1, 0], // no AS in the second
        &[2, 1, 0, 0, 0, 0],       // RFC 7607: AS 0
    ] {
        assert_eq!(path(value, &INTERNAL), withdraw(2, 11), "{value:?}");
    }
    // RFC 5065 §5: confederation segments from outside.
    assert_eq!(path(&[3, 1, 0, 0, 0, 1], &EXTERNAL), withdraw(2, 11));
    assert_eq!(path(&[3, 1, 0, 0, 0, 1], &INTERNAL), None);
}

#[test]
fn sections_7_3_to_7_10() {
    let cases: [(&str, &[u8], &UpdateContext, Cost); 22] = [
        ("7.3 NEXT_HOP of 3", &[0x40, 3, 3, 10, 0, 0], &INTERNAL, withdraw(3, 5)),
        ("7.3 NEXT_HOP beside MP_REACH_NLRI is ignored", &[0x40, 3, 4, 10, 0, 0, 9], &INTERNAL, None),
        ("7.4 MULTI_EXIT_DISC of 5", &[0x80, 4, 5, 0, 0, 0, 0, 1], &INTERNAL, withdraw(4, 5)),
        ("7.5 LOCAL_PREF of 3", &[0x40, 5, 3, 0, 0, 1], &INTERNAL, withdraw(5, 5)),
        ("7.5 LOCAL_PREF from outside", &[0x40, 5, 4, 0, 0, 0, 1], &EXTERNAL, discard(5, 9)),
        ("7.5 LOCAL_PREF of 3 from outside", &[0x40, 5, 3, 0, 0, 1], &EXTERNAL, discard(5, 9)),
        ("7.6 ATOMIC_AGGREGATE of 1", &[0x40, 6, 1, 0], &INTERNAL, discard(6, 5)),
        ("7.7 AGGREGATOR of 6 from a 4-octet speaker", &[0xc0, 7, 6, 0, 1, 10, 0, 0, 1], &INTERNAL, discard(7, 5)),
        ("7.7 AGGREGATOR of 8 from a 2-octet speaker", &[0xc0, 7, 8, 0, 0, 0, 1, 10, 0, 0, 1], &TWO_OCTET, discard(7, 5)),
        ("RFC 7607 AGGREGATOR with AS 0", &[0xc0, 7, 8, 0, 0, 0, 0, 10, 0, 0, 1], &INTERNAL, discard(7, 9)),
        ("7.8 COMMUNITIES of 5", &[0xc0, 8, 5, 0, 0, 0, 1, 0], &INTERNAL, withdraw(8, 5)),
        ("7.9 ORIGINATOR_ID of 5", &[0x80, 9, 5, 10, 0, 0, 1, 0], &INTERNAL, withdraw(9, 5)),
        ("7.9 ORIGINATOR_ID from outside", &[0x80, 9, 4, 10, 0, 0, 1], &EXTERNAL, discard(9, 9)),
        ("7.9 ORIGINATOR_ID of 5 from outside", &[0x80, 9, 5, 10, 0, 0, 1, 0], &EXTERNAL, discard(9, 9)),
        ("7.10 CLUSTER_LIST of 6", &[0x80, 10, 6, 10, 0, 0, 1, 0, 0], &INTERNAL, withdraw(10, 5)),
        ("7.10 CLUSTER_LIST from outside", &[0x80, 10, 4, 10, 0, 0, 1], &EXTERNAL, discard(10, 9)),
        ("7.14 EXTENDED COMMUNITIES of 9", &[0xc0, 16, 9, 0, 2, 0, 1, 0, 0, 0, 1, 0], &INTERNAL, withdraw(16, 5)),
        ("7.14 an unknown extended community is none", &[0xc0, 16, 8, 0x99, 2, 0, 1, 0, 0, 0, 1], &INTERNAL, None),
        ("7.15 IPv6 extended communities of 19", &[&[0xc0, 25, 19][..], &[0; 19]].concat(), &INTERNAL, withdraw(25, 5)),
        ("RFC 8092 LARGE_COMMUNITY of 13", &[&[0xc0, 32, 13][..], &[0; 13]].concat(), &INTERNAL, withdraw(32, 5)),
        ("RFC 9234 ONLY_TO_CUSTOMER of 5", &[0xc0, 35, 5, 0, 0, 0, 0, 1], &INTERNAL, withdraw(35, 5)),
        ("an unknown optional one is none", &[0xc0, 99, 3, 1, 2, 3], &INTERNAL, None),
    ];
    for (words, attribute, context, wanted) in cases {
        assert_eq!(extra(attribute, context), wanted, "{words}");
    }
}

#[test]
fn section_7_11_and_7_12_the_multiprotocol_attributes() {
    // A next hop of another length: the NLRI cannot be located.
    for length in [0u8, 3, 5, 8, 12, 17, 24] {
        let mut value = vec![0, 25, 70, length];
        value.resize(4 + usize::from(length), 1);
        value.extend_from_slice(&[0, 3, 0]);
        let reach = [&[0x80, 14, value.len() as u8], &value[..]].concat();
        assert_eq!(cost(&[&reach, ORIGIN, AS_PATH], &INTERNAL), reset(0, 9), "{length}");
    }
    for end in 0..9 {
        // Cut inside the next hop or before the reserved octet, the attribute's length kept right.
        if end != 4 + 5 {
            let reach = [&[0x80, 14, end as u8], &REACH[3..3 + end]].concat();
            assert_eq!(cost(&[&reach, ORIGIN, AS_PATH], &INTERNAL), reset(0, 9), "{end}");
        }
    }
    for end in 0..3 {
        let unreach = [&[0x80, 15, end as u8], &UNREACH[3..3 + end]].concat();
        assert_eq!(cost(&[&unreach], &INTERNAL), reset(0, 9), "{end}");
    }
    // Another family is not ours to judge.
    assert_eq!(cost(&[&[0x80, 14, 6, 0, 1, 128, 1, 7, 0], ORIGIN, AS_PATH], &INTERNAL), None);
}

#[test]
fn attributes_of_other_documents() {
    let cases: [(&str, &[u8], &UpdateContext, Cost); 11] = [
        ("RFC 6514 PMSI_TUNNEL of 4", &[0xc0, 22, 4, 0, 6, 0, 0], &INTERNAL, withdraw(22, 9)),
        ("RFC 6514 ingress replication to nowhere", &[0xc0, 22, 7, 0, 6, 0, 0, 1, 10, 0], &INTERNAL, withdraw(22, 9)),
        ("RFC 6514 a tunnel type that is not defined is kept", &[0xc0, 22, 6, 0, 99, 0, 0, 1, 7], &INTERNAL, None),
        ("RFC 6793 AS4_PATH from a 4-octet speaker", &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0], &INTERNAL, discard(17, 9)),
        ("RFC 6793 AS4_PATH with no AS", &[0xc0, 17, 2, 2, 0], &TWO_OCTET, discard(17, 9)),
        ("RFC 6793 AS4_PATH that overruns", &[0xc0, 17, 4, 2, 1, 0, 1], &TWO_OCTET, discard(17, 9)),
        ("RFC 6793 AS4_PATH of unknown type", &[0xc0, 17, 6, 9, 1, 0, 1, 0, 0], &TWO_OCTET, discard(17, 9)),
        ("RFC 6793 AS4_PATH of nothing", &[0xc0, 17, 0], &TWO_OCTET, discard(17, 5)),
        ("RFC 6793 AS4_AGGREGATOR of 7", &[0xc0, 18, 7, 0, 1, 0, 0, 10, 0, 0], &TWO_OCTET, discard(18, 5)),
        ("RFC 6793 AS4_AGGREGATOR from a 4-octet speaker", &[0xc0, 18, 8, 0, 1, 0, 0, 10, 0, 0, 1], &INTERNAL, discard(18, 9)),
        ("RFC 4271 §6.3 an unknown well-known one", &[0x40, 99, 1, 7], &INTERNAL, reset(99, 2)),
    ];
    for (words, attribute, context, wanted) in cases {
        assert_eq!(extra(attribute, context), wanted, "{words}");
    }
}

#[test]
fn a_broken_tail_is_reported_from_the_pieces() {
    // Equal pieces get equal answers: a table that knows good pieces by their octets never takes a broken block for a good one.
    let good = body(&[REACH, ORIGIN, AS_PATH]);
    let broken = body(&[REACH, ORIGIN, AS_PATH, &[0x80]]);
    let flagged = body(&[&[&[0xc0], &REACH[1..]].concat(), ORIGIN, AS_PATH]);
    let pieces = |body: &[u8]| UpdateView::parse(body).unwrap().attributes.pieces.concat();
    assert_ne!(pieces(&good), pieces(&broken));
    assert_ne!(pieces(&good), pieces(&flagged));
    assert_eq!(UpdateView::parse(&flagged).unwrap().reach, UpdateView::parse(&good).unwrap().reach);
}
