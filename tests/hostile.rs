//! A whole daemon between a peer that behaves and one that breaks every rule, in virtual time: whatever the one does, the other
//! keeps its session, its routes and its rows, what is kept is bounded, and every limit says that it was hit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod device_support;
mod hostile_support;

use std::time::Duration;

use evpnd::base::Random;
use evpnd::control::Event;
use hostile_support::{HOSTILE, Stage, VNI, announce, attributes, keepalive, mac_route, message, open};

const SECOND: Duration = Duration::from_secs(1);

/// Real messages, one a line: type and octets.
fn vectors() -> Vec<Vec<u8>> {
    let files = [include_str!("vectors/frr.hex"), include_str!("vectors/gobgp.hex"), include_str!("vectors/gobgp6.hex")];
    let lines = files.iter().flat_map(|file| file.lines());
    let octets = lines.filter_map(|line| {
        let digits = line.split_once(' ')?.1.as_bytes();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    });
    octets.collect()
}

#[test]
fn headers_that_lie_cost_their_own_session_and_get_the_answer_of_the_rfc() {
    let mut stage = Stage::new("", "");
    let mut bad_marker = keepalive();
    bad_marker[7] = 0;
    let of_len = |kind: u8, len: u16| [&[0xff; 16][..], &len.to_be_bytes(), &[kind]].concat();
    let mut attempts = vec![(bad_marker, (1, 1))];
    attempts.extend([0, 1, 18, 20, 28, 4096, 4097, 65_535].map(|len| (of_len(4, len), (1, 2))));
    attempts.extend([0, 18, 22, 65_535].map(|len| (of_len(2, len), (1, 2))));
    attempts.extend([0, 6, 7, 128, 255].map(|kind| (of_len(kind, 19), (1, 3))));
    for (octets, wanted) in attempts {
        // Without the capability 4096 octets are the most.
        assert!(stage.hostile_comes_up(false));
        assert!(!stage.hostile_says(&octets), "{octets:02x?}");
        assert_eq!(stage.notification(), Some(wanted), "{octets:02x?}");
        stage.clear_hostile();
    }
    stage.assert_unharmed();
}

#[test]
fn messages_in_the_wrong_order_get_the_answer_of_the_rfc() {
    let mut stage = Stage::new("", "");
    let update = announce(&attributes(66, VNI), [mac_route(66, 1)]);
    let (open, keepalive) = (open(HOSTILE, true), keepalive());
    let orders = [
        (update.clone(), (5, 1)),
        (keepalive.clone(), (5, 1)),
        (message(5, &[0, 25, 0, 70]), (5, 1)),
        ([&open[..], &open].concat(), (5, 2)),
        ([&open[..], &update].concat(), (5, 2)),
        ([&open[..], &keepalive, &open].concat(), (5, 3)),
        (message(1, &[3; 10]), (2, 1)),
    ];
    for (messages, wanted) in orders {
        assert!(stage.hostile_connects());
        stage.hostile_says(&messages);
        assert_eq!((stage.hostile, stage.notification()), (None, Some(wanted)));
        stage.clear_hostile();
    }
    stage.assert_unharmed();
}

#[test]
fn long_messages_are_taken_with_the_capability_and_refused_without() {
    let mut stage = Stage::new("", "");
    let long = announce(&attributes(66, 1), (0..1800).map(|n| mac_route(66, n)));
    assert!(long.len() > 60_000);
    assert!(stage.hostile_comes_up(true) && stage.hostile_says(&long));
    assert_eq!(stage.neighbor(HOSTILE).routes_received, 1800);
    stage.hostile_closes();
    assert!(stage.hostile_comes_up(false) && !stage.hostile_says(&long));
    assert_eq!(stage.notification(), Some((1, 2)));
    stage.assert_unharmed();
}

#[test]
fn who_never_speaks_and_who_speaks_an_octet_a_second_is_left() {
    let mut stage = Stage::new("", "");
    assert!(stage.hostile_connects());
    stage.pass(61 * SECOND);
    assert_eq!(stage.hostile, None, "a place is not held for long without an OPEN");
    assert!(stage.hostile_comes_up(true));
    let update = announce(&attributes(66, 1), (0..100).map(|n| mac_route(66, n)));
    let mut said = 0;
    for octet in &update {
        if !stage.hostile_says(&[*octet]) {
            break;
        }
        said += 1;
        stage.pass(SECOND);
    }
    assert!((89..=91).contains(&said), "the hold time ends it: {said} octets");
    assert_eq!(stage.notification(), Some((4, 0)));
    stage.assert_unharmed();
}

/// It asks for the whole table again and again, and reads nothing: what waits for it stays one buffer's worth, and it is left after
/// the send hold time though its KEEPALIVEs come.
#[test]
fn who_never_reads_is_left_after_the_send_hold_time() {
    let mut stage = Stage::new("route-reflector-client = true", "");
    assert!(stage.hostile_comes_up(true));
    assert!(stage.hostile_reads(1 << 20) > 0);
    for round in 0..600 {
        if !stage.hostile_says(&[keepalive(), message(5, &[0, 25, 0, 70]).repeat(1000)].concat()) {
            assert!(round > 470, "after {round} s");
            let words = stage.neighbor(HOSTILE).last_error.unwrap();
            assert!(words.contains("send hold timer expired"), "{words}");
            stage.assert_unharmed();
            return;
        }
        stage.pass(SECOND);
    }
    panic!("it is still there");
}

#[test]
fn a_flood_of_keepalives_harms_nobody() {
    let mut stage = Stage::new("", "");
    assert!(stage.hostile_comes_up(true));
    assert!(stage.hostile_says(&keepalive().repeat(200_000)));
    assert_eq!(stage.neighbor(HOSTILE).messages_in.keepalive, 200_001);
    stage.assert_unharmed();
}

/// Warned at four fifths, Cease/1 with the limit in it, a rest that doubles; `clear neighbor` and a reload end it.
#[test]
fn too_many_routes_close_the_session_for_a_while() {
    let mut stage = Stage::new("max-routes = 100", "");
    let routes = |from: u32, to: u32| announce(&attributes(66, 1), (from..to).map(|n| mac_route(66, n)));
    assert!(stage.hostile_comes_up(true) && stage.hostile_says(&routes(0, 79)));
    assert_eq!(stage.counter("speaker_max_routes_near"), 0);
    assert!(stage.hostile_says(&routes(79, 90)) && stage.hostile_says(&routes(90, 100)));
    assert_eq!(stage.counter("speaker_max_routes_near"), 1, "told once");
    assert!(stage.events.iter().any(|event| matches!(event, Event::LimitNear { routes: 90, limit: 100, .. })));
    assert!(!stage.hostile_says(&routes(100, 101)));
    assert_eq!(stage.notification(), Some((6, 1)));
    assert!(stage.to_hostile.ends_with(&[6, 1, 0, 25, 70, 0, 0, 0, 100]), "RFC 4486 §4: family and bound");
    for (rest, again) in [(60, true), (120, true), (240, false)] {
        let neighbor = stage.neighbor(HOSTILE);
        assert_eq!((neighbor.state.as_str(), neighbor.rest_secs, neighbor.routes_received), ("idle", Some(rest), 0));
        assert!(neighbor.last_error.unwrap().contains("maximum number of prefixes"));
        stage.pass(Duration::from_secs(rest - 1));
        assert!(!stage.hostile_comes_up(true), "it is turned away while it rests");
        assert_eq!(stage.notification(), Some((6, 5)));
        stage.pass(SECOND);
        assert!(stage.hostile_comes_up(true), "and let in afterwards");
        assert_eq!(stage.neighbor(HOSTILE).rest_secs, None);
        if again {
            assert!(!stage.hostile_says(&routes(0, 101)));
        }
    }
    assert!(!stage.hostile_says(&routes(0, 101)));
    stage.clear_hostile();
    assert!(stage.hostile_comes_up(true), "the operator wants it back");
    assert_eq!((stage.counter("speaker_max_routes_exceeded"), stage.counter("rib_over_max_routes")), (4, 4));
    stage.assert_unharmed();
}

/// `max-routes` in a file that is read again counted only for the next session.
#[test]
fn another_max_routes_holds_at_once() {
    let mut stage = Stage::new("max-routes = 100", "");
    let routes = announce(&attributes(66, 1), (0..50).map(|n| mac_route(66, n)));
    assert!(stage.hostile_comes_up(true) && stage.hostile_says(&routes));
    let reload = |stage: &mut Stage, limit: u32| {
        let config = format!(
            "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[vni]]\nid = {VNI}\n[[neighbor]]\naddress = \"10.0.0.2\"\npassive = true\n\
             [[neighbor]]\naddress = \"10.0.0.66\"\npassive = true\nmax-routes = {limit}\n"
        );
        let config = evpnd::config::parse("evpnd.toml", &config).unwrap();
        stage.speaker.reload(stage.now, Ok(config), None);
        stage.pump();
    };
    reload(&mut stage, 60);
    assert!(stage.hostile.is_some());
    reload(&mut stage, 40);
    assert_eq!((stage.hostile, stage.notification()), (None, Some((6, 1))));
    assert_eq!(stage.neighbor(HOSTILE).rest_secs, Some(60));
    reload(&mut stage, 80);
    assert!(stage.hostile_comes_up(true) && stage.hostile_says(&routes), "a higher one ends the rest");
    stage.assert_unharmed();
}

/// Every UPDATE with other attributes, as long as they may be.
#[test]
fn a_storm_of_attributes_stays_within_its_limit() {
    let mut stage = Stage::new("", "[limits]\nattribute-octets-per-neighbor = 1000000\n");
    assert!(stage.hostile_comes_up(true));
    let mut n = 0;
    let peak = loop {
        let communities = (0..900).map(|c| n * 1000 + c).collect();
        let storm = evpnd::wire::attribute::Attributes { communities, ..attributes(66, 1) };
        let octets = stage.neighbor(HOSTILE).attribute_octets;
        if !stage.hostile_says(&announce(&storm, [mac_route(66, n)])) {
            break octets;
        }
        n += 1;
    };
    assert!((800_000..=1_000_000).contains(&peak) && n > 50, "{peak} octets after {n}");
    assert_eq!(stage.notification(), Some((6, 8)));
    assert_eq!(stage.neighbor(HOSTILE).attribute_octets, 0, "all is given back");
    assert_eq!((stage.counter("speaker_attribute_octets_exceeded"), stage.neighbor(HOSTILE).rest_secs), (1, Some(60)));
    stage.assert_unharmed();
}

#[test]
fn blocks_longer_than_any_real_one_cost_their_routes_only() {
    let mut stage = Stage::new("", "");
    assert!(stage.hostile_comes_up(true));
    let communities = (0..15_000).collect();
    let storm = evpnd::wire::attribute::Attributes { communities, ..attributes(66, 1) };
    let octets = announce(&storm, [mac_route(66, 1)]);
    assert!(octets.len() > 60_000 && stage.hostile_says(&octets));
    assert_eq!((stage.neighbor(HOSTILE).routes_received, stage.counter("rib_blocks_too_long")), (0, 1));
    stage.assert_unharmed();
}

/// Up and down hundreds of times: the log and the table are spared after the first few, and it is let in again after a while.
#[test]
fn who_comes_and_goes_all_the_time_is_left_alone_for_a_while() {
    let mut stage = Stage::new("", "");
    let mut came_up = 0;
    for _ in 0..500 {
        came_up += u32::from(stage.hostile_comes_up(true));
        stage.hostile_closes();
    }
    assert_eq!((came_up, stage.counter("speaker_neighbors_flapping")), (10, 1));
    assert_eq!(stage.neighbor(HOSTILE).rest_secs, Some(10));
    stage.pass(10 * SECOND);
    assert!(stage.hostile_comes_up(true));
    stage.pass(6 * SECOND);
    stage.hostile_closes();
    assert!(stage.hostile_comes_up(true), "one that stands for a while is none of a row");
    stage.assert_unharmed();
}

/// The same through a range: who closes its connection is forgotten, and came back as a new one each time.
#[test]
fn who_comes_and_goes_through_a_range_is_remembered() {
    let mut stage = Stage::new("", "[[neighbor]]\nlisten-range = \"10.9.0.0/16\"\n");
    let local = std::net::SocketAddr::from(([10, 0, 0, 1], 179));
    let mut came_up = 0;
    for port in 1..100 {
        let admitted = stage.speaker.handle_incoming(stage.now, local, ([10, 9, 0, 1], port).into());
        stage.pump();
        let Ok((conn, _)) = admitted else { continue };
        stage.speaker.handle_octets(stage.now, conn, &[open([10, 9, 0, 1], true), keepalive()].concat());
        came_up += u32::from(stage.status().neighbors.up == 2);
        stage.speaker.handle_closed(stage.now, conn, "closed by the test");
        stage.pump();
    }
    assert_eq!((came_up, stage.counter("speaker_neighbors_flapping")), (10, 1));
    stage.pass(131 * SECOND);
    assert_eq!(stage.status().neighbors.configured, 2, "after its rest and the hold of a lost neighbor it is forgotten");
    stage.assert_unharmed();
}

/// Mistakes are counted each, told once in 10 s, and told with the octets (RFC 7606 §6).
#[test]
fn a_flood_of_mistakes_does_not_fill_the_log() {
    let mut stage = Stage::new("", "");
    assert!(stage.hostile_comes_up(true));
    let mut wrong = announce(&attributes(66, VNI), [mac_route(66, 1)]);
    let origin = wrong.windows(4).position(|w| w == [0x40, 1, 1, 0]).unwrap();
    wrong[origin + 3] = 9;
    for _ in 0..30 {
        assert!(stage.hostile_says(&wrong.repeat(100)));
        stage.pass(SECOND);
    }
    let told: Vec<String> =
        stage.events.iter().filter(|event| matches!(event, Event::UpdateMistake { .. })).map(ToString::to_string).collect();
    assert_eq!((told.len(), stage.neighbor(HOSTILE).update_mistakes), (3, 3000));
    let digits: String = wrong.iter().map(|octet| format!("{octet:02x}")).collect();
    assert!(told[0].contains("ORIGIN: not 0, 1 or 2, treated as withdraw; with [2]:[0]:[48]:[02:42:00:00:00:01]"), "{}", told[0]);
    assert!(told[0].ends_with(&digits));
    stage.assert_unharmed();
}

/// Whoever connects from a range gets a place until its session is up; the places are counted, and configured neighbors need none.
#[test]
fn half_open_neighbors_of_a_range_are_few() {
    let range = "[[neighbor]]\nlisten-range = \"10.9.0.0/16\"\n[limits]\npending-connections = 5\n";
    let mut stage = Stage::new("", range);
    let local = std::net::SocketAddr::from(([10, 0, 0, 1], 179));
    let let_in =
        (0..50u8).filter(|n| stage.speaker.handle_incoming(stage.now, local, ([10, 9, 0, *n], 1000).into()).is_ok()).count();
    stage.pump();
    assert_eq!((let_in, stage.counter("speaker_connections_refused")), (5, 45));
    let told = stage.events.iter().filter(|event| matches!(event, Event::ConnectionRefused { .. })).count();
    assert_eq!(told, 6, "1, 2, 4, 8, 16, 32");
    assert!(stage.hostile_comes_up(true), "a configured neighbor has its own place");
    stage.pass(61 * SECOND);
    assert!(stage.speaker.handle_incoming(stage.now, local, ([10, 9, 1, 1], 1000).into()).is_ok(), "they are given up again");
    stage.pump();
    stage.assert_unharmed();
}

/// Real messages with some octets changed, tens of thousands of them.
#[test]
fn mutations_of_real_messages_harm_nobody() {
    let mut stage = Stage::new("", "");
    let vectors = vectors();
    assert!(vectors.len() > 15);
    let mut random = Random::new(7606);
    let mut resets = 0;
    for round in 0..20_000 {
        if stage.hostile.is_none() {
            resets += 1;
            stage.clear_hostile();
            assert!(stage.hostile_comes_up(true));
        }
        let mut octets = vectors[random.below(vectors.len() as u64) as usize].clone();
        for _ in 0..random.below(4) {
            let place = random.below(octets.len() as u64) as usize;
            octets[place] = random.next_u64() as u8;
        }
        if random.below(8) == 0 {
            octets.truncate(random.below(octets.len() as u64 + 1) as usize);
        }
        stage.hostile_says(&octets);
        if round % 100 == 0 {
            stage.hostile_reads(1 << 16);
            stage.pass(SECOND);
        }
    }
    assert!(resets > 100, "{resets}: some are more than mistakes in an attribute");
    assert!(stage.status().counters["rib_nlri_errors"] + stage.status().counters["rib_treat_as_withdraw"] > 100);
    stage.assert_unharmed();
}
