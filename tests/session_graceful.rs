//! What is kept of a peer whose session ended, cell by cell: every state × every input, with the next state, its deadline
//! and what is done. A cell that is missing, or a state or input that has no row, fails. Read `src/session/graceful.rs` beside
//! it. Behind the table: which loss is which, by the reason and the terms; and what the two sides say when they part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod session_support;

use std::collections::BTreeMap;
use std::time::Duration;

use evpnd::base::Time;
use evpnd::session::DownReason;
use evpnd::session::graceful::{Helper, Input, Limits, Loss, Output, Return, Terms};
use evpnd::wire::capability::{Capability, GracefulRestart};
use evpnd::wire::notification::{Notification, cease};
use session_support::Negotiated;

/// A cell is `next state @ deadline in seconds from now: output`; a dot means that nothing changes and nothing is done.
/// `kept long ago` are states whose oldest routes are stale for longer than RFC 8538's limit.
const TABLE: &str = "
                    | Settled                 | Restarting              | RestartingLong            | LongLived           | Held                | Returned                  | ReturnedOpen            | ReturnedLongAgo
LostFinal           | Settled: drop           | .                       | .                         | .                   | .                   | Settled: drop             | Settled: drop           | Settled: drop
LostHeld            | Held @120: keep         | .                       | .                         | .                   | .                   | Held @120: keep-all       | Held @120: keep-all     | Held @120: keep
LostGraceful        | Restarting @60: keep    | .                       | .                         | .                   | .                   | Restarting @60: keep      | Restarting @60: keep    | Restarting @60: keep
LostGracefulN       | Restarting @60: keep    | .                       | .                         | .                   | .                   | Restarting @60: keep-all  | Restarting @60: keep-all | Restarting @60: keep
LostAtOnceLong      | LongLived @900: keep-ll | .                       | .                         | .                   | .                   | LongLived @900: keep-ll   | LongLived @900: keep-ll | LongLived @900: keep-ll
LostNothing         | Settled: drop           | .                       | .                         | .                   | .                   | Settled: drop             | Settled: drop           | Settled: drop
BackPreserved       | .                       | Returned @360           | Returned @360             | Settled: sweep      | Returned @360       | .                         | .                       | .
BackPreservedLong   | .                       | Returned @360           | Returned @360             | Returned @360       | Returned @360       | .                         | .                       | .
BackWithout         | .                       | Settled: sweep          | Settled: sweep            | Settled: sweep      | Returned @360       | .                         | .                       | .
EndOfRib            | .                       | .                       | .                         | .                   | .                   | Settled: sweep            | .                       | Settled: sweep
TimerEarly          | .                       | .                       | .                         | .                   | .                   | .                         | .                       | .
Timer               | .                       | Settled: sweep          | LongLived @900: long-lived| Settled: sweep      | Settled: sweep      | Settled: sweep            | Settled: sweep          | Settled: sweep
Forget              | .                       | Settled: sweep          | Settled: sweep            | Settled: sweep      | Settled: sweep      | Settled: sweep            | Settled: sweep          | Settled: sweep
";

const NOW: Time = Time::from_secs(10_000);
const LIMITS: Limits =
    Limits { stale: Duration::from_secs(360), long_lived: Duration::from_secs(900), hold: Duration::from_secs(120) };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One example of every state, with deadlines at `until`. A new state does not compile until it has a name here.
fn states(until: Time) -> Vec<(&'static str, Helper)> {
    let since = Time::from_secs(9_900);
    let states = [
        Helper::Settled,
        Helper::Restarting { until, since, long_lived: Duration::ZERO },
        Helper::Restarting { until, since, long_lived: secs(900) },
        Helper::LongLived { until, since },
        Helper::Held { until, since },
        Helper::Returned { until, since, complete: true },
        Helper::Returned { until, since, complete: false },
        Helper::Returned { until, since: Time::from_secs(9_000), complete: true },
    ];
    let name = |state: Helper| match state {
        Helper::Settled => "Settled",
        Helper::Restarting { long_lived: Duration::ZERO, .. } => "Restarting",
        Helper::Restarting { .. } => "RestartingLong",
        Helper::LongLived { .. } => "LongLived",
        Helper::Held { .. } => "Held",
        Helper::Returned { since, .. } if since < Time::from_secs(9_500) => "ReturnedLongAgo",
        Helper::Returned { complete: false, .. } => "ReturnedOpen",
        Helper::Returned { .. } => "Returned",
    };
    states.into_iter().map(|state| (name(state), state)).collect()
}

/// One example of every input; the deadline has come for all but `TimerEarly`.
fn inputs() -> Vec<(&'static str, Input)> {
    let graceful = |restart, long_lived, older| {
        Input::Lost(Loss::Graceful { restart: secs(restart), long_lived: secs(long_lived), older: secs(older) })
    };
    let back = |preserved, long_lived_preserved| {
        Input::Back(Return { preserved, long_lived_preserved, wait: secs(360), complete: true })
    };
    let inputs = [
        ("LostFinal", Input::Lost(Loss::Final)),
        ("LostHeld", Input::Lost(Loss::Held(secs(120)))),
        ("LostGraceful", graceful(60, 900, 0)),
        ("LostGracefulN", graceful(60, 900, 360)),
        ("LostAtOnceLong", graceful(0, 900, 360)),
        ("LostNothing", graceful(0, 0, 360)),
        ("BackPreserved", back(true, false)),
        ("BackPreservedLong", back(true, true)),
        ("BackWithout", back(false, true)),
        ("EndOfRib", Input::EndOfRib),
        ("TimerEarly", Input::Timer),
        ("Timer", Input::Timer),
        ("Forget", Input::Forget),
    ];
    for (_, input) in &inputs {
        match input {
            Input::Lost(Loss::Final | Loss::Held(_) | Loss::Graceful { .. }) => {}
            Input::Back(_) | Input::EndOfRib | Input::Timer | Input::Forget => {}
        }
    }
    inputs.to_vec()
}

fn word(output: Output) -> &'static str {
    match output {
        Output::Drop => "drop",
        Output::Keep => "keep",
        Output::KeepAll => "keep-all",
        Output::KeepLongLived => "keep-ll",
        Output::LongLived => "long-lived",
        Output::Sweep => "sweep",
    }
}

#[test]
fn every_cell() {
    let mut rows = TABLE.lines().filter(|line| !line.is_empty()).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let mut cells = BTreeMap::new();
    for row in rows {
        assert_eq!(row.len(), head.len(), "row {}", row[0]);
        for (state, cell) in head.iter().zip(&row).skip(1) {
            assert_eq!(cells.insert((row[0], *state), *cell), None, "{} in {state} stands twice", row[0]);
        }
    }
    assert_eq!(cells.len(), states(NOW).len() * inputs().len(), "the table has rows or columns that nobody asks for");
    let mut wrong = Vec::new();
    for (input_name, input) in inputs() {
        let until = if input_name == "TimerEarly" { NOW + secs(1) } else { NOW };
        for (state_name, state) in states(until) {
            let wanted = cells[&(input_name, state_name)];
            let (next, output) = state.step(NOW, input);
            let mut got = format!("{next:?}").split(' ').next().unwrap().to_owned();
            if let Some(at) = next.poll_timeout() {
                got = format!("{got} @{}", at.since(NOW).as_secs());
            }
            if let Some(output) = output {
                got = format!("{got}: {}", word(output));
            }
            let same = next == state && output.is_none();
            if wanted == "." && !same || wanted != "." && got != wanted {
                wrong.push(format!("{input_name} in {state_name}: {got}, wanted {wanted}"));
            }
            assert!(next.keeps() == next.poll_timeout().is_some(), "what is kept has an end");
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn negotiated(theirs: Option<GracefulRestart>, long_lived: Option<Vec<(u16, u8, u8, u32)>>) -> Negotiated {
    Negotiated {
        graceful_restart: theirs,
        capabilities: long_lived.map(Capability::LongLivedGracefulRestart).into_iter().collect(),
        ..session_support::negotiated()
    }
}

fn restart(notification: bool, families: &[(u16, u8, bool)]) -> Option<GracefulRestart> {
    Some(GracefulRestart { restarted: false, notification, restart_time_secs: 60, families: families.to_vec() })
}

/// Each reason × {no graceful restart, RFC 4724, RFC 8538}: `F`inal, `H`eld, `G`raceful.
#[test]
fn which_loss_is_which() {
    let cease = |subcode| Notification { code: 6, subcode, data: Vec::new() };
    let cases = [
        ("TCP ended", DownReason::ConnectionClosed("reset".to_owned()), "HGG"),
        ("the peer connected anew", DownReason::Superseded, "HGG"),
        ("hold timer", DownReason::HoldTimerExpired, "HHG"),
        ("send hold timer", DownReason::SendHoldTimerExpired, "HHG"),
        ("its hold timer", DownReason::Received(Notification { code: 4, subcode: 0, data: vec![] }), "HHG"),
        ("administrative shutdown", DownReason::Received(cease(cease::ADMIN_SHUTDOWN)), "FFG"),
        ("de-configured", DownReason::Received(cease(cease::PEER_DECONFIGURED)), "FFG"),
        ("too many prefixes there", DownReason::Received(cease(cease::MAX_PREFIXES)), "FFG"),
        ("rejected", DownReason::Received(cease(cease::REJECTED)), "FFG"),
        ("administrative reset", DownReason::Received(cease(cease::ADMIN_RESET)), "HHG"),
        ("hard reset", DownReason::Received(cease(cease::HARD_RESET)), "FFF"),
        ("too many routes here", DownReason::Sent(cease(cease::MAX_PREFIXES)), "FFG"),
        ("too much here", DownReason::Sent(cease(cease::OUT_OF_RESOURCES)), "FFG"),
        ("we reset hard", DownReason::Sent(cease(cease::HARD_RESET)), "FFF"),
        ("its UPDATE was wrong", DownReason::Sent(Notification { code: 3, subcode: 1, data: vec![] }), "HHG"),
        ("its configuration changed here", DownReason::Reconfigured, "HGG"),
        ("evpnctl clear neighbor", DownReason::AdminStop("reset by the operator".to_owned()), "HHG"),
    ];
    let evpn = [(25, 70, true)];
    let terms = [None, restart(false, &evpn), restart(true, &evpn)].map(|theirs| Terms::of(&negotiated(theirs, None)));
    for (what, reason, wanted) in cases {
        let got: String = terms
            .iter()
            .map(|terms| match terms.loss(&reason, &LIMITS) {
                Loss::Final => 'F',
                Loss::Held(_) => 'H',
                Loss::Graceful { .. } => 'G',
            })
            .collect();
        assert_eq!(got, wanted, "{what}");
    }
    let closed = DownReason::ConnectionClosed(String::new());
    assert_eq!(terms[0].loss(&closed, &Limits { hold: Duration::ZERO, ..LIMITS }), Loss::Final, "loss-hold-time = 0");
    assert_eq!(
        terms[1].loss(&closed, &Limits { hold: Duration::ZERO, ..LIMITS }),
        Loss::Graceful { restart: secs(60), long_lived: Duration::ZERO, older: Duration::ZERO }
    );
}

#[test]
fn a_capability_without_our_family_keeps_nothing_of_the_peers() {
    let closed = DownReason::ConnectionClosed(String::new());
    let helper_only = Terms::of(&negotiated(restart(true, &[(1, 1, true)]), None));
    assert!(helper_only.agreed && !helper_only.family);
    assert_eq!(helper_only.loss(&closed, &LIMITS), Loss::Held(secs(120)));
    let strict = Limits { hold: Duration::ZERO, ..LIMITS };
    assert!(!helper_only.back(&strict).preserved);
}

/// RFC 4724 §4.2 to the letter without `loss-hold-time`; with it a reflector that comes back without the F bit costs no row.
#[test]
fn without_the_f_bit_what_is_stale_waits_only_as_long_as_a_lost_peers() {
    let strict = Limits { hold: Duration::ZERO, ..LIMITS };
    let long = |flags| Some(vec![(25, 70, flags, 3600)]);
    let with = Terms::of(&negotiated(restart(true, &[(25, 70, true)]), long(0x80)));
    let without = Terms::of(&negotiated(restart(true, &[(25, 70, false)]), long(0)));
    let back = |preserved, long_lived_preserved, secs| Return {
        preserved,
        long_lived_preserved,
        wait: Duration::from_secs(secs),
        complete: secs != 120,
    };
    assert_eq!((with.back(&strict), without.back(&strict)), (back(true, true, 360), back(false, false, 0)));
    assert_eq!((with.back(&LIMITS), without.back(&LIMITS)), (back(true, true, 360), back(true, true, 120)));
}

#[test]
fn nobody_makes_us_keep_longer_than_we_want() {
    let closed = DownReason::ConnectionClosed(String::new());
    let greedy = Some(GracefulRestart { restart_time_secs: 4095, families: vec![(25, 70, true)], ..GracefulRestart::default() });
    let terms = Terms::of(&negotiated(greedy, Some(vec![(1, 1, 0x80, 5), (25, 70, 0x80, 0xff_ffff)])));
    let wanted = Loss::Graceful { restart: secs(360), long_lived: secs(900), older: Duration::ZERO };
    assert_eq!(terms.loss(&closed, &LIMITS), wanted);
    assert!(terms.back(&LIMITS).long_lived_preserved && terms.long_lived_capable);
    // Off here, or not offered for our family.
    let Loss::Graceful { long_lived, .. } = terms.loss(&closed, &Limits { long_lived: Duration::ZERO, ..LIMITS }) else {
        panic!()
    };
    assert_eq!(long_lived, Duration::ZERO);
    let other = Terms::of(&negotiated(restart(true, &[(25, 70, false)]), Some(vec![(1, 1, 0x80, 5)])));
    assert_eq!((other.long_lived_secs, other.long_lived_capable, other.preserved), (0, true, false));
}
