//! Random lives of a session: whatever happens in whatever order, it does not panic, serves every timer, keeps what waits
//! bounded, never runs two sessions, and does not stop trying while it is wanted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session_support;

use std::time::Duration;

use evpnd::base::Time;
use evpnd::session::{Direction, Session, SessionEvent, State};
use evpnd::wire::capability::{Capability, GracefulRestart};
use evpnd::wire::header::{MessageType, begin, emit_keepalive, finish};
use evpnd::wire::notification::Notification;
use evpnd::wire::open::Open;
use evpnd::wire::route_refresh::RouteRefresh;
use proptest::prelude::*;
use session_support::{BgpIdentifier, SessionConfig};

#[derive(Debug, Clone)]
enum Act {
    Start,
    Stop,
    Connected(Direction),
    ConnectFailed,
    Closed(Direction),
    Sent(Direction),
    Open(Direction, u8, u16, bool),
    Keepalive(Direction),
    Message(Direction, u8, Vec<u8>),
    Noise(Direction, Vec<u8>),
    Error,
    Refresh,
    Transmit(Direction),
    Wait(u32),
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Outgoing), Just(Direction::Incoming)]
}

fn act() -> impl Strategy<Value = Act> {
    let octets = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        1 => Just(Act::Start),
        1 => Just(Act::Stop),
        6 => direction().prop_map(Act::Connected),
        2 => Just(Act::ConnectFailed),
        2 => direction().prop_map(Act::Closed),
        2 => direction().prop_map(Act::Sent),
        8 => (direction(), 0..4u8, prop::sample::select(vec![0u16, 2, 3, 90, 65535]), prop::bool::weighted(0.9))
            .prop_map(|(direction, id, hold, evpn)| Act::Open(direction, id, hold, evpn)),
        8 => direction().prop_map(Act::Keepalive),
        3 => (direction(), 1..7u8, octets()).prop_map(|(direction, kind, body)| Act::Message(direction, kind, body)),
        1 => (direction(), octets()).prop_map(|(direction, octets)| Act::Noise(direction, octets)),
        1 => Just(Act::Error),
        1 => Just(Act::Refresh),
        3 => direction().prop_map(Act::Transmit),
        6 => (0..400_000_000u32).prop_map(Act::Wait),
    ]
}

/// Single acts, and peers that behave for a while: by chance alone few lives would reach Established.
fn acts() -> impl Strategy<Value = Vec<Act>> {
    let good = (direction(), 0..4u8).prop_map(|(direction, id)| {
        vec![Act::Connected(direction), Act::Open(direction, id, 90, true), Act::Keepalive(direction)]
    });
    let some = prop_oneof![6 => act().prop_map(|act| vec![act]), 1 => good];
    prop::collection::vec(some, 0..60).prop_map(|acts| acts.concat())
}

fn open(id: u8, hold_time_secs: u16, evpn: bool) -> Vec<u8> {
    let family = if evpn { (25, 70) } else { (1, 1) };
    let restart = GracefulRestart { restarted: false, notification: false, restart_time_secs: 9, families: vec![(25, 70, true)] };
    let capabilities = vec![
        Capability::MultiProtocol { afi: family.0, safi: family.1 },
        Capability::RouteRefresh,
        Capability::FourOctetAs(65000),
        Capability::GracefulRestart(restart),
    ];
    let mut out = Vec::new();
    Open { version: 4, my_as: 65000, hold_time_secs, identifier: BgpIdentifier([10, 0, 0, id].into()), capabilities }
        .emit(&mut out);
    out
}

/// What became of one life: its events in words, for the comparison of two.
fn live(acts: &[Act], passive: bool, graceful: bool, seed: u64) -> Vec<String> {
    let restart = GracefulRestart { restarted: false, notification: false, restart_time_secs: 9, families: vec![(25, 70, true)] };
    let config = SessionConfig { passive, graceful_restart: graceful.then_some(restart), ..session_support::config(2) };
    let mut session = Session::new(config, seed, Time::ZERO);
    let (mut now, mut log, mut wanted, mut up) = (Time::ZERO, Vec::new(), false, false);
    for act in acts {
        match act {
            Act::Start => {
                wanted = true;
                session.start(now);
            }
            Act::Stop => {
                wanted = false;
                session.stop(now, 2, "bye");
            }
            Act::Connected(direction) => log.push(format!("{:?}", session.handle_connected(now, *direction))),
            Act::ConnectFailed => session.handle_connect_failed(now, "no route"),
            Act::Closed(direction) => session.handle_closed(now, *direction, "reset"),
            Act::Sent(direction) => session.handle_sent(now, *direction),
            Act::Open(direction, id, hold, evpn) => session.handle_octets(now, *direction, &open(*id, *hold, *evpn)),
            Act::Keepalive(direction) => {
                let mut octets = Vec::new();
                emit_keepalive(&mut octets);
                session.handle_octets(now, *direction, &octets);
            }
            Act::Message(direction, kind, body) => {
                let mut octets = Vec::new();
                let start = begin(&mut octets, MessageType::Update);
                octets.extend_from_slice(body);
                finish(&mut octets, start);
                octets[18] = *kind;
                session.handle_octets(now, *direction, &octets);
            }
            Act::Noise(direction, octets) => session.handle_octets(now, *direction, octets),
            Act::Error => session.handle_error(now, Notification { code: 3, subcode: 1, data: Vec::new() }),
            Act::Refresh => session.send_route_refresh(RouteRefresh { afi: 25, subtype: 0, safi: 70 }),
            Act::Transmit(direction) => {
                let mut out = Vec::new();
                session.transmit(*direction, &mut out);
                assert!(out.len() < 4096, "what waits is bounded");
                log.push(format!("{out:?}"));
            }
            Act::Wait(micros) => {
                now = now + Duration::from_micros(u64::from(*micros));
                session.handle_timeout(now);
            }
        }
        while let Some(event) = session.poll_event(now) {
            match event {
                SessionEvent::Established(_) => {
                    assert!(!up, "two sessions with one peer: {log:?}");
                    up = true;
                }
                SessionEvent::Down(_) => {
                    assert!(up, "down without up: {log:?}");
                    up = false;
                }
                SessionEvent::Update(_) | SessionEvent::RouteRefresh(_) => assert!(up, "routes outside Established"),
                _ => {}
            }
            log.push(format!("{event:?}"));
        }
        session.handle_timeout(now);
        assert!(session.poll_timeout().is_none_or(|(at, _)| at > now), "a timer in the past: {:?}", session.poll_timeout());
        assert_eq!(session.established().is_some(), up);
        let state = session.state();
        assert_eq!(state == State::Idle, !wanted, "{log:?}");
        if wanted && !passive && state < State::OpenSent {
            assert!(session.poll_timeout().is_some(), "it no longer tries: {log:?}");
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_is_orderly(
        acts in acts(),
        passive in any::<bool>(),
        graceful in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let acts = [vec![Act::Start], acts].concat();
        prop_assert_eq!(live(&acts, passive, graceful, seed), live(&acts, passive, graceful, seed));
    }
}
