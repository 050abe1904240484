//! A session against a peer written by hand, octet by octet: every refusal with the exact NOTIFICATION, malformed and
//! torn input, long messages, route refresh, limits. The peer speaks first-hand octets, so that codec and machine are
//! tested together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session_support;

use std::time::Duration;

use evpnd::base::Time;
use evpnd::session::{Admission, Direction, DownReason, Session, SessionEvent, State};
use evpnd::wire::capability::GracefulRestart;
use evpnd::wire::notification::Notification;
use evpnd::wire::route_refresh::RouteRefresh;
use session_support::{Asn, SessionConfig};

const KEEPALIVE: &[u8] = &[0, 19, 4];
const CAP_EVPN: &[u8] = &[1, 4, 0, 25, 0, 70];
const CAP_REFRESH: &[u8] = &[2, 0];
const CAP_EXTENDED: &[u8] = &[6, 0];
const CAP_ENHANCED: &[u8] = &[70, 0];
/// R bit clear, 120 s, 25/70 with F.
const CAP_RESTART: &[u8] = &[64, 6, 0, 120, 0, 25, 70, 0x80];

fn cap_as(asn: u32) -> Vec<u8> {
    [&[65, 4][..], &asn.to_be_bytes()].concat()
}

/// A message with its marker; `rest` begins with the length.
fn message(rest: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], rest].concat()
}

fn typed(message_type: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    message(&[&[len[0], len[1], message_type][..], body].concat())
}

/// An OPEN, every capability in a parameter of its own.
fn open(version: u8, my_as: u16, hold: u16, identifier: [u8; 4], capabilities: &[&[u8]]) -> Vec<u8> {
    let parameters: Vec<u8> = capabilities.iter().flat_map(|c| [&[2, c.len() as u8][..], c].concat()).collect();
    let mut body = vec![version];
    body.extend(my_as.to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend(identifier);
    body.push(parameters.len() as u8);
    body.extend(parameters);
    typed(1, &body)
}

/// What a good peer of 65000 says.
fn good_open() -> Vec<u8> {
    open(4, 65000, 90, [10, 0, 0, 2], &[CAP_EVPN, CAP_REFRESH, CAP_ENHANCED, CAP_EXTENDED, &cap_as(65000), CAP_RESTART])
}

/// Our side: AS 65000, 10.0.0.1, passive.
fn config() -> SessionConfig {
    SessionConfig { passive: true, host_name: Some("hv1".to_owned()), ..session_support::config(1) }
}

/// An event that owns its octets.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Connect,
    CancelConnect,
    Close(Direction),
    Established,
    Down(DownReason),
    Refused(DownReason),
    Update(Vec<u8>),
    RouteRefresh(u8),
}

/// A session, its time, and what was seen of it.
struct Lone {
    session: Session,
    now: Time,
    seen: Vec<Seen>,
}

impl Lone {
    fn new(config: SessionConfig) -> Self {
        let mut session = Session::new(config, 1, Time::ZERO);
        session.start(Time::ZERO);
        let mut lone = Self { session, now: Time::from_secs(1), seen: Vec::new() };
        lone.drain();
        lone
    }

    /// The same with an incoming connection whose OPEN from us was read.
    fn connected(config: SessionConfig) -> Self {
        let mut lone = Self::new(config);
        lone.connect(Direction::Incoming);
        assert_eq!(lone.sent(Direction::Incoming)[18], 1, "our OPEN");
        lone
    }

    fn established(config: SessionConfig, open: &[u8]) -> Self {
        let mut lone = Self::connected(config);
        lone.hear(open);
        lone.hear(&message(KEEPALIVE));
        assert_eq!(lone.session.state(), State::Established, "{:?}", lone.seen);
        assert_eq!(lone.sent(Direction::Incoming), message(KEEPALIVE));
        lone.seen.clear();
        lone
    }

    fn connect(&mut self, direction: Direction) -> Admission {
        let admission = self.session.handle_connected(self.now, direction);
        self.drain();
        admission
    }

    fn hear(&mut self, octets: &[u8]) {
        self.hear_on(Direction::Incoming, octets);
    }

    fn hear_on(&mut self, direction: Direction, octets: &[u8]) {
        self.session.handle_octets(self.now, direction, octets);
        self.drain();
    }

    fn wait(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event(self.now) {
            self.seen.push(match event {
                SessionEvent::Connect => Seen::Connect,
                SessionEvent::CancelConnect => Seen::CancelConnect,
                SessionEvent::Close(direction) => Seen::Close(direction),
                SessionEvent::Established(_) => Seen::Established,
                SessionEvent::Down(reason) => Seen::Down(reason),
                SessionEvent::Refused(reason) => Seen::Refused(reason),
                SessionEvent::Update(body) => Seen::Update(body.to_vec()),
                SessionEvent::RouteRefresh(refresh) => Seen::RouteRefresh(refresh.subtype),
            });
        }
    }

    fn sent(&mut self, direction: Direction) -> Vec<u8> {
        let (waits, mut out) = (self.session.has_transmit(direction), Vec::new());
        self.session.transmit(direction, &mut out);
        assert_eq!(waits, !out.is_empty());
        out
    }
}

#[test]
fn our_open_offers_what_we_speak() {
    let graceful =
        GracefulRestart { restarted: true, notification: false, restart_time_secs: 120, families: vec![(25, 70, true)] };
    let mut lone = Lone::new(SessionConfig { local_asn: Asn(4_200_000_000), graceful_restart: Some(graceful), ..config() });
    lone.connect(Direction::Incoming);
    let sent = lone.sent(Direction::Incoming);
    assert_eq!(sent[18..28], [1, 4, 0x5b, 0xa0, 0, 90, 10, 0, 0, 1], "AS_TRANS in two octets");
    let has = |capability: &[u8]| sent.windows(capability.len()).any(|window| window == capability);
    for capability in [CAP_EVPN, CAP_REFRESH, CAP_ENHANCED, CAP_EXTENDED, &cap_as(4_200_000_000), b"hv1"] {
        assert!(has(capability), "{capability:?} in {sent:?}");
    }
    assert!(has(&[64, 6, 0x80, 120, 0, 25, 70, 0x80]));
}

#[test]
fn an_ordinary_peer_is_established_and_told() {
    let mut lone = Lone::connected(config());
    lone.hear(&good_open());
    assert_eq!(lone.session.state(), State::OpenConfirm);
    assert_eq!(lone.sent(Direction::Incoming), message(KEEPALIVE));
    lone.hear(&message(KEEPALIVE));
    assert_eq!(lone.seen, [Seen::Established]);
    let (direction, negotiated) = lone.session.established().unwrap();
    assert_eq!(direction, Direction::Incoming);
    assert_eq!(negotiated.peer_asn, Asn(65000));
    assert!(negotiated.extended_message && negotiated.four_octet_as && negotiated.enhanced_route_refresh && !negotiated.external);
    assert_eq!(negotiated.graceful_restart, None, "we did not offer it");
    assert_eq!(negotiated.capabilities.len(), 6);
    assert_eq!(lone.session.stats().established, 1);
    assert_eq!(lone.session.stats().received.total(), 2);
}

/// Each OPEN that is not acceptable, with the NOTIFICATION's code, subcode and data, and a word that our operator reads.
#[test]
fn every_refusal_says_why_on_both_sides() {
    let id = [10, 0, 0, 2];
    let four = cap_as(65000);
    let caps: &[&[u8]] = &[CAP_EVPN, &four];
    let any = config();
    let wants = |asn| SessionConfig { remote_asn: Some(Asn(asn)), ..config() };
    type Case<'a> = (&'a str, SessionConfig, Vec<u8>, &'a [u8], &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("version 3", any.clone(), open(3, 65000, 90, id, caps), &[2, 1, 0, 4], "version"),
        ("version 5", any.clone(), open(5, 65000, 90, id, caps), &[2, 1, 0, 4], "version"),
        ("wrong AS", wants(65001), open(4, 65000, 90, id, caps), &[2, 2], "says AS 65000, but AS 65001 is configured"),
        ("wrong 4-octet AS", wants(65000), open(4, 23456, 90, id, &[CAP_EVPN, &cap_as(70000)]), &[2, 2], "AS 70000"),
        ("AS 0", any.clone(), open(4, 0, 90, id, &[CAP_EVPN]), &[2, 2], "AS 0"),
        ("AS 0 in two octets", any.clone(), open(4, 0, 90, id, caps), &[2, 2], "AS 0"),
        ("AS 0 in four octets", any.clone(), open(4, 23456, 90, id, &[CAP_EVPN, &cap_as(0)]), &[2, 2], "AS 0"),
        ("AS_TRANS alone", any.clone(), open(4, 23456, 90, id, &[CAP_EVPN]), &[2, 2], "AS_TRANS"),
        ("AS_TRANS twice", any.clone(), open(4, 23456, 90, id, &[CAP_EVPN, &cap_as(23456)]), &[2, 2], "AS_TRANS"),
        ("two AS", any.clone(), open(4, 65001, 90, id, caps), &[2, 2], "AS 65001 and AS 65000"),
        ("hold time 1", any.clone(), open(4, 65000, 1, id, caps), &[2, 6], "hold time is 1 s"),
        ("hold time 2", any.clone(), open(4, 65000, 2, id, caps), &[2, 6], "hold time is 2 s"),
        ("identifier 0", any.clone(), open(4, 65000, 90, [0; 4], caps), &[2, 3], "0.0.0.0"),
        ("our identifier", any.clone(), open(4, 65000, 90, [10, 0, 0, 1], caps), &[2, 3], "10.0.0.1 is ours"),
        ("no EVPN", any.clone(), open(4, 65000, 90, id, &[&four]), &[2, 7, 1, 4, 0, 25, 0, 70], "EVPN"),
        ("no capability", any.clone(), open(4, 65000, 90, id, &[]), &[2, 7, 1, 4, 0, 25, 0, 70], "EVPN"),
        ("IPv4 only", any, open(4, 65000, 90, id, &[&[1, 4, 0, 1, 0, 1], &four]), &[2, 7, 1, 4, 0, 25, 0, 70], "EVPN"),
    ];
    for (name, config, open, notification, words) in cases {
        let mut lone = Lone::connected(config);
        lone.hear(&open);
        assert_eq!(lone.sent(Direction::Incoming), typed(3, notification), "{name}");
        let [Seen::Close(Direction::Incoming), Seen::Refused(reason)] = &lone.seen[..] else { panic!("{name}: {:?}", lone.seen) };
        assert!(reason.to_string().contains(words), "{name}: {reason}");
        assert_eq!(reason.notification().map(|n| (n.code, n.subcode)), Some((notification[0], notification[1])));
        assert_eq!(lone.session.last_error(), Some(reason));
        assert_eq!(lone.session.state(), State::Active, "{name}: and the door stays open");
    }
}

#[test]
fn what_differs_between_two_as_is_no_reason_to_refuse() {
    // RFC 6286: the same identifier in another AS. RFC 6793: an old speaker without 4-octet numbers.
    let mut lone = Lone::established(config(), &open(4, 65001, 180, [10, 0, 0, 1], &[CAP_EVPN]));
    let (_, negotiated) = lone.session.established().unwrap();
    assert!(negotiated.external && !negotiated.four_octet_as && !negotiated.extended_message && !negotiated.route_refresh);
    assert_eq!(negotiated.hold_time_secs, 90);
    lone.session.send_route_refresh(RouteRefresh { afi: 25, subtype: 0, safi: 70 });
    assert!(!lone.session.has_transmit(Direction::Incoming), "the peer cannot answer");
    assert_eq!(lone.session.stats().route_refresh_unsent, 1);
    // RFC 6793 §4.1: the number is in the capability.
    let lone = Lone::established(config(), &open(4, 23456, 0, [10, 0, 0, 2], &[CAP_EVPN, &cap_as(70000)]));
    let (_, negotiated) = lone.session.established().unwrap();
    assert_eq!((negotiated.peer_asn, negotiated.hold_time_secs), (Asn(70000), 0));
    assert_eq!(lone.session.poll_timeout(), None);
}

/// What each state answers to what it does not expect, and to headers that are no headers.
#[test]
fn garbage_gets_the_answer_of_the_rfc() {
    let refresh = typed(5, &[0, 25, 0, 70]);
    let update = typed(2, &[0, 0, 0, 0]);
    let mut unsynchronized = good_open();
    unsynchronized[3] = 0;
    // In OpenSent.
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("marker", unsynchronized, vec![1, 1]),
        ("short length", message(&[0, 18, 1]), vec![1, 2, 0, 18]),
        ("length 0", message(&[0, 0, 4]), vec![1, 2, 0, 0]),
        ("long length", message(&[0x10, 0x01, 2]), vec![1, 2, 0x10, 0x01]),
        ("type 0", message(&[0, 19, 0]), vec![1, 3, 0]),
        ("type 77", message(&[0, 19, 77]), vec![1, 3, 77]),
        ("KEEPALIVE with a body", message(&[0, 20, 4, 0]), vec![1, 2, 0, 20]),
        ("KEEPALIVE", message(KEEPALIVE), vec![5, 1, 4]),
        ("UPDATE", update.clone(), vec![5, 1, 2]),
        ("ROUTE-REFRESH", refresh.clone(), vec![5, 1, 5]),
        ("short OPEN", message(&[0, 28, 1, 4, 0, 0, 0, 90, 10, 0, 0, 2]), vec![1, 2, 0, 28]),
    ];
    for (name, octets, wanted) in cases {
        let mut lone = Lone::connected(config());
        lone.hear(&octets);
        assert_eq!(lone.sent(Direction::Incoming), typed(3, &wanted), "{name} in OpenSent");
        assert!(matches!(lone.seen[..], [Seen::Close(_), Seen::Refused(DownReason::Sent(_))]), "{name}: {:?}", lone.seen);
    }
    for (name, octets, wanted) in
        [("OPEN", good_open(), vec![5, 2, 1]), ("UPDATE", update, vec![5, 2, 2]), ("ROUTE-REFRESH", refresh, vec![5, 2, 5])]
    {
        let mut lone = Lone::connected(config());
        lone.hear(&good_open());
        lone.sent(Direction::Incoming);
        lone.hear(&octets);
        assert_eq!(lone.sent(Direction::Incoming), typed(3, &wanted), "{name} in OpenConfirm");
    }
    let bad_refresh = typed(5, &[0, 25, 0]);
    for (name, octets, wanted) in [
        ("OPEN", good_open(), vec![5, 3, 1]),
        ("short ROUTE-REFRESH", bad_refresh.clone(), [&[7, 1][..], &bad_refresh].concat()),
        ("noise", vec![0x5a; 64], vec![1, 1]),
    ] {
        let mut lone = Lone::established(config(), &good_open());
        lone.hear(&octets);
        assert_eq!(lone.sent(Direction::Incoming), typed(3, &wanted), "{name} in Established");
        assert!(matches!(lone.seen[..], [Seen::Close(_), Seen::Down(DownReason::Sent(_))]), "{name}: {:?}", lone.seen);
        lone.hear(&good_open());
        assert!(!lone.session.has_transmit(Direction::Incoming), "what comes after the end is nobody's");
    }
}

#[test]
fn input_torn_octet_by_octet_is_the_same_input() {
    let update = typed(2, &[0, 0, 0, 0]);
    let stream = [good_open(), message(KEEPALIVE), update.clone(), typed(5, &[0, 25, 0, 70]), update].concat();
    let mut lone = Lone::connected(config());
    for octet in &stream {
        lone.hear(std::slice::from_ref(octet));
    }
    let torn = lone.seen;
    let mut lone = Lone::connected(config());
    lone.hear(&stream);
    assert_eq!(lone.seen, torn);
    assert_eq!(
        torn,
        [Seen::Established, Seen::Update(vec![0; 4]), Seen::RouteRefresh(0), Seen::Update(vec![0; 4])],
        "in their order"
    );
}

#[test]
fn long_messages_only_after_both_said_so() {
    for (capability, len, taken) in
        [(Some(CAP_EXTENDED), 65535, true), (Some(CAP_EXTENDED), 4097, true), (None, 4096, true), (None, 4097, false)]
    {
        let caps: Vec<&[u8]> = [CAP_EVPN].into_iter().chain(capability).collect();
        let mut lone = Lone::established(config(), &open(4, 65000, 90, [10, 0, 0, 2], &caps));
        let body = vec![7; len - 19];
        for part in typed(2, &body).chunks(1000) {
            lone.hear(part);
        }
        if taken {
            assert_eq!(lone.seen, [Seen::Update(body)], "{len}");
        } else {
            assert_eq!(lone.sent(Direction::Incoming), typed(3, &[1, 2, 0x10, 0x01]));
        }
    }
    // RFC 8654 §4: an OPEN stays within 4096, and so does a KEEPALIVE.
    let mut lone = Lone::established(config(), &good_open());
    lone.hear(&typed(1, &vec![0; 5000]));
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[1, 2, 0x13, 0x9b]));
}

#[test]
fn route_refreshes_for_us_are_told_and_others_counted() {
    let mut lone = Lone::established(config(), &good_open());
    for (afi, subtype, safi) in [(25, 0, 70), (25, 1, 70), (25, 2, 70), (25, 3, 70), (25, 255, 70), (1, 0, 1), (25, 0, 65)] {
        lone.hear(&typed(5, &[0, afi, subtype, safi]));
    }
    assert_eq!(lone.seen, [Seen::RouteRefresh(0), Seen::RouteRefresh(1), Seen::RouteRefresh(2)]);
    assert_eq!(lone.session.stats().route_refresh_ignored, 4);
    // Without RFC 7313 the octet is reserved.
    let mut lone = Lone::established(config(), &open(4, 65000, 90, [10, 0, 0, 2], &[CAP_EVPN, CAP_REFRESH]));
    lone.hear(&typed(5, &[0, 25, 9, 70]));
    assert_eq!(lone.seen, [Seen::RouteRefresh(0)]);
    // Ours.
    for _ in 0..10 {
        lone.session.send_route_refresh(RouteRefresh { afi: 25, subtype: 0, safi: 70 });
    }
    assert_eq!(lone.sent(Direction::Incoming), typed(5, &[0, 25, 0, 70]), "the same question once");
}

#[test]
fn shutdown_text_goes_out_and_comes_in() {
    let mut lone = Lone::established(config(), &good_open());
    lone.session.stop(lone.now, 2, "kernel upgrade");
    lone.drain();
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[&[6, 2, 14][..], b"kernel upgrade"].concat()));
    assert_eq!(lone.seen, [Seen::Close(Direction::Incoming), Seen::Down(DownReason::AdminStop("kernel upgrade".to_owned()))]);
    assert_eq!((lone.session.state(), lone.session.poll_timeout()), (State::Idle, None));
    // Stopped means stopped: a caller is told so.
    assert_eq!(lone.connect(Direction::Incoming), Admission::Taken);
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[6, 5]));
    assert_eq!(lone.seen.last(), Some(&Seen::Close(Direction::Incoming)));

    let mut lone = Lone::established(config(), &good_open());
    lone.hear(&typed(3, &[&[6, 2, 7][..], b"bye bye"].concat()));
    assert!(!lone.session.has_transmit(Direction::Incoming), "a NOTIFICATION is never answered");
    let [Seen::Close(_), Seen::Down(reason @ DownReason::Received(_))] = &lone.seen[..] else { panic!("{:?}", lone.seen) };
    assert!(reason.to_string().contains("bye bye"), "{reason}");
    assert_eq!(reason.notification().and_then(Notification::shutdown_text).as_deref(), Some("bye bye"));

    // Other subcodes have no room for text.
    let mut lone = Lone::established(config(), &good_open());
    lone.session.stop(lone.now, 3, "gone");
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[6, 3]));
}

#[test]
fn a_room_above_may_reset_the_session() {
    let mut lone = Lone::established(config(), &good_open());
    lone.session.handle_error(lone.now, Notification { code: 6, subcode: 1, data: vec![0, 25, 70, 0, 0, 0, 9] });
    lone.drain();
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[6, 1, 0, 25, 70, 0, 0, 0, 9]));
    assert!(matches!(lone.seen[..], [Seen::Close(_), Seen::Down(DownReason::Sent(_))]));
}

#[test]
fn a_silent_peer_is_left_after_the_hold_time() {
    let mut lone = Lone::connected(config());
    lone.wait(59);
    assert_eq!(lone.seen, []);
    lone.wait(2);
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[4, 0]), "a minute in OpenSent for who connected");

    let mut lone = Lone::established(config(), &open(4, 65000, 30, [10, 0, 0, 2], &[CAP_EVPN]));
    lone.wait(29);
    lone.hear(&message(KEEPALIVE));
    lone.wait(29);
    assert_eq!(lone.seen, []);
    lone.sent(Direction::Incoming);
    lone.wait(2);
    assert_eq!(lone.seen, [Seen::Close(Direction::Incoming), Seen::Down(DownReason::HoldTimerExpired)]);
    let mut last = lone.sent(Direction::Incoming);
    assert_eq!(last.split_off(last.len() - 21), typed(3, &[4, 0]));
}

/// A peer that speaks but never reads: nothing piles up, and RFC 9687 ends it where the rim reports what TCP took.
#[test]
fn a_peer_that_never_reads_is_left_after_the_send_hold_time() {
    for reports in [true, false] {
        let mut lone = Lone::connected(config());
        if reports {
            lone.session.handle_sent(lone.now, Direction::Incoming);
        }
        lone.hear(&good_open());
        lone.hear(&message(KEEPALIVE));
        lone.seen.clear();
        for _ in 0..20 {
            lone.wait(20);
            lone.hear(&message(KEEPALIVE));
        }
        assert_eq!(lone.session.state(), State::Established);
        assert_eq!(lone.sent(Direction::Incoming), message(KEEPALIVE), "one keepalive waits, not twenty");
        for _ in 0..5 {
            lone.wait(20);
            lone.hear(&message(KEEPALIVE));
        }
        if reports {
            assert_eq!(lone.seen, [Seen::Close(Direction::Incoming), Seen::Down(DownReason::SendHoldTimerExpired)]);
            assert!(!lone.session.has_transmit(Direction::Incoming), "nothing is said into a wall");
        } else {
            assert_eq!(lone.session.state(), State::Established, "a rim that never reports is not judged");
        }
    }
}

#[test]
fn attempts_back_off_and_silence_is_given_up() {
    let mut lone = Lone::new(SessionConfig { passive: false, ..config() });
    assert_eq!(lone.seen, [Seen::Connect]);
    assert_eq!(lone.session.state(), State::Connect);
    // Refused attempts: 5, 10, 20, 40, 80, 120, 120 s, each jittered down to 75 %.
    for whole in [5, 10, 20, 40, 80, 120, 120] {
        lone.session.handle_connect_failed(lone.now, "connection refused");
        lone.drain();
        assert_eq!(lone.session.state(), State::Active);
        let (at, name) = lone.session.poll_timeout().unwrap();
        assert_eq!(name, "connect retry timer");
        let pause = at.since(lone.now);
        assert!(pause >= Duration::from_secs(whole) * 3 / 4 && pause <= Duration::from_secs(whole), "{pause:?} of {whole}");
        lone.seen.clear();
        lone.wait(whole);
        assert_eq!(lone.seen, [Seen::Connect]);
        lone.now = at;
    }
    // An attempt without an answer.
    lone.seen.clear();
    lone.wait(15);
    assert_eq!(lone.seen[0], Seen::CancelConnect);
    assert!(matches!(&lone.seen[1], Seen::Refused(DownReason::ConnectFailed(why)) if why == "no answer within 15 s"));
    // Stop and start: at once again.
    lone.session.stop(lone.now, 2, "");
    lone.session.start(lone.now);
    lone.drain();
    assert_eq!(lone.seen.last(), Some(&Seen::Connect));
    lone.session.stop(lone.now, 2, "");
    lone.drain();
    assert_eq!(lone.seen.last(), Some(&Seen::CancelConnect));
    assert_eq!(lone.session.poll_timeout(), None);
}

#[test]
fn a_second_connection_is_turned_away_while_a_session_stands() {
    // The session came in; the newcomer has no slot of its own.
    let mut lone = Lone::established(config(), &good_open());
    assert_eq!(lone.connect(Direction::Incoming), Admission::Refused(typed(3, &[6, 7])));
    assert_eq!((lone.session.state(), &lone.seen[..]), (State::Established, &[][..]));
    // The session went out; the newcomer is told on its own slot.
    let mut lone = Lone::new(SessionConfig { passive: false, ..config() });
    lone.connect(Direction::Outgoing);
    lone.hear_on(Direction::Outgoing, &good_open());
    lone.hear_on(Direction::Outgoing, &message(KEEPALIVE));
    lone.seen.clear();
    assert_eq!(lone.connect(Direction::Incoming), Admission::Taken);
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[6, 7]));
    assert_eq!((lone.session.state(), &lone.seen[..]), (State::Established, &[Seen::Close(Direction::Incoming)][..]));
    assert_eq!(lone.session.stats().turned_away, 1);
}

#[test]
fn with_graceful_restart_a_second_connection_says_that_the_first_is_dead() {
    let graceful =
        GracefulRestart { restarted: false, notification: false, restart_time_secs: 120, families: vec![(25, 70, true)] };
    let config = SessionConfig { graceful_restart: Some(graceful), passive: false, ..config() };
    // It came in.
    let mut lone = Lone::established(config.clone(), &good_open());
    let theirs = lone.session.established().unwrap().1.graceful_restart.clone().unwrap();
    assert_eq!((theirs.restart_time_secs, theirs.families), (120, vec![(25, 70, true)]));
    assert_eq!(lone.connect(Direction::Incoming), Admission::Replaces(Vec::new()), "without a NOTIFICATION (RFC 4724 §4.2)");
    assert_eq!(lone.seen, [Seen::Down(DownReason::Superseded)]);
    assert_eq!(lone.sent(Direction::Incoming)[18], 1, "our OPEN on the new one");
    lone.hear(&good_open());
    lone.hear(&message(KEEPALIVE));
    assert_eq!(lone.session.state(), State::Established);
    // It went out.
    let mut lone = Lone::new(config);
    lone.connect(Direction::Outgoing);
    lone.hear_on(Direction::Outgoing, &good_open());
    lone.hear_on(Direction::Outgoing, &message(KEEPALIVE));
    lone.seen.clear();
    assert_eq!(lone.connect(Direction::Incoming), Admission::Taken);
    assert_eq!(lone.seen, [Seen::Close(Direction::Outgoing), Seen::Down(DownReason::Superseded)]);
    assert!(!lone.session.has_transmit(Direction::Outgoing));
    assert_eq!(lone.sent(Direction::Incoming)[18], 1);
}

#[test]
fn before_established_the_newer_incoming_connection_counts() {
    let mut lone = Lone::connected(config());
    lone.hear(&good_open()[..30]);
    assert_eq!(lone.connect(Direction::Incoming), Admission::Replaces(typed(3, &[6, 7])));
    assert_eq!(lone.seen, [Seen::Refused(DownReason::Superseded)]);
    assert_eq!(lone.sent(Direction::Incoming)[18], 1);
    lone.hear(&good_open());
    lone.hear(&message(KEEPALIVE));
    assert_eq!(lone.session.state(), State::Established, "nothing of the old octets is left");
}

/// RFC 4271 §6.8, from our side: all four ways in which two connections can meet in OpenConfirm.
#[test]
fn two_connections_meet_and_the_higher_identifier_chooses() {
    for (peer, first) in [(2, Direction::Outgoing), (2, Direction::Incoming), (0, Direction::Outgoing), (0, Direction::Incoming)]
    {
        let theirs = open(4, 65000, 90, [10, 0, 0, peer], &[CAP_EVPN]);
        let kept = if peer > 1 { Direction::Incoming } else { Direction::Outgoing };
        let mut lone = Lone::new(SessionConfig { passive: false, ..config() });
        lone.connect(Direction::Outgoing);
        lone.connect(Direction::Incoming);
        for direction in Direction::BOTH {
            assert_eq!(lone.sent(direction)[18], 1);
        }
        lone.seen.clear();
        lone.hear_on(first, &theirs);
        assert_eq!(lone.sent(first), message(KEEPALIVE));
        lone.hear_on(first.other(), &theirs);
        assert_eq!(lone.seen, [Seen::Close(kept.other()), Seen::Refused(DownReason::Collision)]);
        assert_eq!(lone.sent(kept.other()), typed(3, &[6, 7]));
        lone.hear_on(kept, &message(KEEPALIVE));
        assert_eq!(lone.session.established().map(|(direction, _)| direction), Some(kept));
        assert_eq!(lone.session.last_error(), None, "a collision is no error");
        assert_eq!(lone.session.stats().collisions, 1);
        lone.sent(kept);
        assert!(lone.session.poll_timeout().is_some_and(|(_, name)| name == "keepalive timer"), "no attempt while it stands");
    }
}

#[test]
fn a_connection_that_lags_behind_an_established_one_is_closed_by_its_open() {
    let mut lone = Lone::new(SessionConfig { passive: false, ..config() });
    lone.connect(Direction::Outgoing);
    lone.connect(Direction::Incoming);
    lone.hear(&good_open());
    lone.hear(&message(KEEPALIVE));
    assert_eq!(lone.session.state_of(Direction::Outgoing), State::OpenSent, "tracked (RFC 4271 §8.2.2, Established)");
    lone.sent(Direction::Outgoing);
    lone.hear_on(Direction::Outgoing, &good_open());
    assert_eq!(lone.sent(Direction::Outgoing), typed(3, &[6, 7]));
    assert_eq!(lone.session.established().map(|(direction, _)| direction), Some(Direction::Incoming));
}

#[test]
fn a_rim_that_never_drains_ends_the_session_in_words() {
    let mut lone = Lone::established(config(), &good_open());
    let updates = typed(2, &[0; 4]).repeat(2000);
    for _ in 0..30 {
        lone.session.handle_octets(lone.now, Direction::Incoming, &updates);
    }
    lone.drain();
    assert_eq!(lone.sent(Direction::Incoming), typed(3, &[6, 8]));
    assert_eq!(lone.session.stats().receive_overflows, 1);
}
