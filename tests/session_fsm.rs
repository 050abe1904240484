//! The state machine of one connection, cell by cell: every state × every input, with the next state and what is done.
//! A cell that is missing, or a state or input that has no row, fails. Read `src/session/fsm.rs` beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session_support;

use std::collections::BTreeMap;
use std::time::Duration;

use evpnd::base::Time;
use evpnd::session::fsm::{Connection, Context, Input, Output};
use evpnd::session::graceful::Pause;
use evpnd::session::timers::Timers;
use evpnd::session::{Direction, DownReason, Refusal, State};
use evpnd::wire::notification::Notification;
use evpnd::wire::route_refresh::RouteRefresh;
use session_support::{Asn, Negotiated, SessionConfig};

/// The table for an outgoing connection of a peer that is not passive. A cell is `next state: outputs`; a dot means that
/// nothing changes and nothing is done. `N6/7` is a NOTIFICATION. `Active` is `Active` with a retry to come, `Active-`
/// without one.
const OUTGOING: &str = "
                  | Idle              | Connect                | Active            | OpenSent                     | OpenConfirm                   | Established
Start             | Connect: connect  | .                      | .                 | .                            | .                             | .
Stop              | .                 | Idle: cancel           | Idle              | Idle: N6/2 close             | Idle: N6/2 close              | Idle: N6/2 close down
Restart           | .                 | Idle: cancel           | Idle              | Idle: N6/2 close             | Idle: N6/2 close              | Idle: N6/2 close down
Reconfigured      | .                 | Idle: cancel           | Idle              | Idle: N6/6 close             | Idle: N6/6 close              | Idle: N6/6 close down
RetryTimer        | .                 | Active: cancel refused | Connect: connect  | .                            | .                             | .
HoldTimer         | .                 | .                      | .                 | Active: N4/0 close refused   | Active: N4/0 close refused    | Active: N4/0 close down
KeepaliveTimer    | .                 | .                      | .                 | .                            | OpenConfirm: KEEPALIVE        | Established: KEEPALIVE
SendHoldTimer     | .                 | .                      | .                 | .                            | .                             | Active: close down
Connected         | Idle: N6/5 close  | OpenSent: OPEN         | Active: close     | OpenSent: refused OPEN       | OpenSent: refused OPEN        | OpenSent: down OPEN
Unwanted          | Idle: N6/7 close  | Connect: N6/7 close    | Active: N6/7 close| .                            | .                             | .
ConnectFailed     | .                 | Active: refused        | .                 | .                            | .                             | .
Closed            | .                 | .                      | .                 | Active: refused              | Active: refused               | Active: down
Sent              | .                 | .                      | .                 | .                            | .                             | .
Open              | .                 | .                      | .                 | OpenConfirm: KEEPALIVE       | Active: N5/2 close refused    | Active: N5/3 close down
OpenRefused       | .                 | .                      | .                 | Active: N2/2 close refused   | Active: N5/2 close refused    | Active: N5/3 close down
Keepalive         | .                 | .                      | .                 | Active: N5/1 close refused   | Established: up               | .
Update            | .                 | .                      | .                 | Active: N5/1 close refused   | Active: N5/2 close refused    | Established: update
RouteRefresh      | .                 | .                      | .                 | Active: N5/1 close refused   | Active: N5/2 close refused    | Established: refresh
RouteRefreshBad   | .                 | .                      | .                 | Active: N5/1 close refused   | Active: N5/2 close refused    | Active: N7/1 close down
Notification      | .                 | .                      | .                 | Active: close refused        | Active: close refused         | Active: close down
Malformed         | .                 | .                      | .                 | Active: N1/2 close refused   | Active: N1/2 close refused    | Active: N1/2 close down
Reset             | .                 | .                      | .                 | Active: N3/1 close refused   | Active: N3/1 close refused    | Active: N3/1 close down
Collision         | .                 | Active: cancel         | .                 | Active: N6/7 close refused   | Active: N6/7 close refused    | Active: N6/7 close down
Superseded        | .                 | .                      | .                 | Active: close refused        | Active: close refused         | Active: close down
OtherConfirmed    | .                 | .                      | Active-           | .                            | .                             | .
OtherEstablished  | .                 | Active: cancel         | Active-           | .                            | Active: N6/7 close refused    | .
OtherGone         | .                 | .                      | Active            | .                            | .                             | .
";

/// Where an incoming connection differs; `Active` is `Active-` everywhere, and there is no Connect.
const INCOMING: &[(&str, &str, &str)] =
    &[("Start", "Idle", "Active-"), ("RetryTimer", "Active", "."), ("Connected", "Active", "OpenSent: OPEN")];

/// Where an outgoing connection of a passive peer differs; `Active` is `Active-` everywhere, and there is no Connect.
const PASSIVE: &[(&str, &str, &str)] = &[("Start", "Idle", "Active-"), ("RetryTimer", "Active", ".")];

const NOW: Time = Time::from_secs(1000);

fn config(passive: bool) -> SessionConfig {
    SessionConfig { remote_asn: Some(Asn(65000)), passive, ..session_support::config(1) }
}

fn negotiated() -> Box<Negotiated> {
    Box::new(session_support::negotiated())
}

fn at(secs: u64) -> Time {
    NOW + Duration::from_secs(secs)
}

/// One example of every state. A new state does not compile until it has a name here.
fn states(retry: Option<Time>) -> Vec<(&'static str, Connection)> {
    let name = |state: &Connection| match state {
        Connection::Idle => "Idle",
        Connection::Connect { .. } => "Connect",
        Connection::Active { .. } => "Active",
        Connection::OpenSent { .. } => "OpenSent",
        Connection::OpenConfirm { .. } => "OpenConfirm",
        Connection::Established { .. } => "Established",
    };
    let (negotiated, hold, keepalive) = (negotiated(), Some(at(60)), Some(at(20)));
    vec![
        Connection::Idle,
        Connection::Connect { give_up: at(10) },
        Connection::Active { retry },
        Connection::OpenSent { hold: at(200) },
        Connection::OpenConfirm { negotiated: negotiated.clone(), hold, keepalive },
        Connection::Established { negotiated, hold, keepalive, send_hold: Some(at(400)), since: Time::from_secs(990) },
    ]
    .into_iter()
    .map(|state| (name(&state), state))
    .collect()
}

/// One example of every input. A new input does not compile until it has a name here.
fn inputs() -> Vec<(&'static str, Input)> {
    let name = |input: &Input| match input {
        Input::Start => "Start",
        Input::Stop { .. } => "Stop",
        Input::Pause { pause: Pause::Restart, .. } => "Restart",
        Input::Pause { pause: Pause::Reconfigured, .. } => "Reconfigured",
        Input::RetryTimer => "RetryTimer",
        Input::HoldTimer => "HoldTimer",
        Input::KeepaliveTimer => "KeepaliveTimer",
        Input::SendHoldTimer => "SendHoldTimer",
        Input::Connected => "Connected",
        Input::Unwanted(_) => "Unwanted",
        Input::ConnectFailed(_) => "ConnectFailed",
        Input::Closed(_) => "Closed",
        Input::Sent => "Sent",
        Input::Open(Ok(_)) => "Open",
        Input::Open(Err(_)) => "OpenRefused",
        Input::Keepalive => "Keepalive",
        Input::Update => "Update",
        Input::RouteRefresh(Ok(_)) => "RouteRefresh",
        Input::RouteRefresh(Err(_)) => "RouteRefreshBad",
        Input::Notification(_) => "Notification",
        Input::Malformed(_) => "Malformed",
        Input::Reset(_) => "Reset",
        Input::Collision => "Collision",
        Input::Superseded => "Superseded",
        Input::OtherConfirmed => "OtherConfirmed",
        Input::OtherEstablished => "OtherEstablished",
        Input::OtherGone => "OtherGone",
    };
    let notification = |code, subcode| Notification { code, subcode, data: vec![1, 2] };
    let refusal = Refusal { notification: notification(2, 2), why: "it says AS 1".to_owned() };
    vec![
        Input::Start,
        Input::Stop { subcode: 2, text: "upgrade".to_owned() },
        Input::Pause { pause: Pause::Restart, text: "upgrade".to_owned() },
        Input::Pause { pause: Pause::Reconfigured, text: String::new() },
        Input::RetryTimer,
        Input::HoldTimer,
        Input::KeepaliveTimer,
        Input::SendHoldTimer,
        Input::Connected,
        Input::Unwanted(notification(6, 7)),
        Input::ConnectFailed("refused".to_owned()),
        Input::Closed("reset".to_owned()),
        Input::Sent,
        Input::Open(Ok(negotiated())),
        Input::Open(Err(refusal)),
        Input::Keepalive,
        Input::Update,
        Input::RouteRefresh(Ok(RouteRefresh { afi: 25, subtype: 0, safi: 70 })),
        Input::RouteRefresh(Err(notification(7, 1))),
        Input::Notification(notification(6, 4)),
        Input::Malformed(notification(1, 2)),
        Input::Reset(notification(3, 1)),
        Input::Collision,
        Input::Superseded,
        Input::OtherConfirmed,
        Input::OtherEstablished,
        Input::OtherGone,
    ]
    .into_iter()
    .map(|input| (name(&input), input))
    .collect()
}

fn word(output: &Output) -> String {
    match output {
        Output::Connect => "connect".to_owned(),
        Output::CancelConnect => "cancel".to_owned(),
        Output::SendOpen => "OPEN".to_owned(),
        Output::SendKeepalive => "KEEPALIVE".to_owned(),
        Output::SendNotification(notification) => format!("N{}/{}", notification.code, notification.subcode),
        Output::Close => "close".to_owned(),
        Output::Up => "up".to_owned(),
        Output::Down(_) => "down".to_owned(),
        Output::Refused(_) => "refused".to_owned(),
        Output::DeliverUpdate => "update".to_owned(),
        Output::DeliverRouteRefresh(_) => "refresh".to_owned(),
    }
}

/// The cells by (input, state).
fn table(text: &str) -> BTreeMap<(String, String), String> {
    let mut rows = text.lines().filter(|line| !line.is_empty()).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let mut cells = BTreeMap::new();
    for row in rows {
        assert_eq!(row.len(), head.len(), "row {}", row[0]);
        for (state, cell) in head.iter().zip(&row).skip(1) {
            assert!(!cell.is_empty(), "{} in {state} is empty", row[0]);
            let before = cells.insert((row[0].to_owned(), (*state).to_owned()), (*cell).to_owned());
            assert_eq!(before, None, "{} in {state} stands twice", row[0]);
        }
    }
    cells
}

/// One step: the next state and the outputs as a cell of the table says them.
fn step(direction: Direction, passive: bool, state: &Connection, input: Input) -> (Connection, Vec<Output>, String) {
    let (config, mut timers, mut outputs) = (config(passive), Timers::new(7), Vec::new());
    let mut cx = Context {
        now: NOW,
        direction,
        config: &config,
        held: false,
        reports_sent: true,
        timers: &mut timers,
        outputs: &mut outputs,
    };
    let next = state.clone().step(input, &mut cx);
    let name = match (&next, next.state()) {
        (Connection::Active { retry: None }, _) => "Active-".to_owned(),
        (_, name) => format!("{name:?}"),
    };
    let words: Vec<String> = outputs.iter().map(word).collect();
    let cell = if words.is_empty() { name } else { format!("{name}: {}", words.join(" ")) };
    (next, outputs, cell)
}

fn check(direction: Direction, passive: bool, differences: &[(&str, &str, &str)]) {
    let tries = direction == Direction::Outgoing && !passive;
    let mut cells = table(OUTGOING);
    let (states, inputs) = (states(tries.then(|| at(5))), inputs());
    assert_eq!(cells.len(), states.len() * inputs.len(), "the table has rows or columns that nobody asks for");
    for (input, state, cell) in differences {
        cells.insert(((*input).to_owned(), (*state).to_owned()), (*cell).to_owned()).unwrap();
    }
    let mut wrong = Vec::new();
    for (state_name, state) in states.iter().filter(|(name, _)| tries || *name != "Connect") {
        for (input_name, input) in &inputs {
            let Some(cell) = cells.get(&((*input_name).to_owned(), (*state_name).to_owned())) else {
                wrong.push(format!("{input_name} in {state_name} is not in the table"));
                continue;
            };
            let wanted = match cell.as_str() {
                "." if *state_name == "Active" && !tries => "Active-".to_owned(),
                "." => (*state_name).to_owned(),
                cell if !tries => cell.replace("Active", "Active-").replace("--", "-"),
                cell => cell.to_owned(),
            };
            let (next, _, got) = step(direction, passive, state, input.clone());
            if got != wanted {
                wrong.push(format!("{input_name} in {state_name}: {got}, wanted {wanted}"));
            }
            if cell == "." && next != *state && !matches!(input, Input::Keepalive | Input::Sent) {
                wrong.push(format!("{input_name} in {state_name} moved a timer"));
            }
        }
    }
    assert!(wrong.is_empty(), "{direction:?}, passive {passive}:\n{}", wrong.join("\n"));
}

#[test]
fn every_cell_of_an_outgoing_connection() {
    check(Direction::Outgoing, false, &[]);
}

#[test]
fn every_cell_of_an_incoming_connection() {
    check(Direction::Incoming, false, INCOMING);
}

#[test]
fn every_cell_of_a_passive_peer() {
    check(Direction::Outgoing, true, PASSIVE);
    check(Direction::Incoming, true, INCOMING);
}

/// Every step leaves its timers in the future, and what a state promises runs.
#[test]
fn no_step_leaves_a_timer_in_the_past() {
    for direction in Direction::BOTH {
        for (state_name, state) in states(Some(at(5))) {
            for (input_name, input) in inputs() {
                let (next, ..) = step(direction, false, &state, input);
                let deadline = next.next_deadline().map(|(at, _)| at);
                assert!(deadline.is_none_or(|at| at > NOW), "{input_name} in {state_name}");
                let waits = matches!(next.state(), State::Connect | State::OpenSent | State::OpenConfirm | State::Established);
                assert!(deadline.is_some() || !waits, "{input_name} in {state_name} waits for ever");
            }
        }
    }
}

/// RFC 6608 §4: the data of 5/1 to 5/3 is the type of the message.
#[test]
fn an_unexpected_message_is_named_in_the_notification() {
    let cases = [
        ("OpenSent", Input::Keepalive, [5, 1, 4]),
        ("OpenSent", Input::Update, [5, 1, 2]),
        ("OpenSent", Input::RouteRefresh(Ok(RouteRefresh { afi: 25, subtype: 0, safi: 70 })), [5, 1, 5]),
        ("OpenConfirm", Input::Open(Ok(negotiated())), [5, 2, 1]),
        ("OpenConfirm", Input::Update, [5, 2, 2]),
        ("OpenConfirm", Input::RouteRefresh(Ok(RouteRefresh { afi: 25, subtype: 0, safi: 70 })), [5, 2, 5]),
        ("Established", Input::Open(Ok(negotiated())), [5, 3, 1]),
    ];
    for (name, input, [code, subcode, message_type]) in cases {
        let (_, state) = states(None).into_iter().find(|(state, _)| *state == name).unwrap();
        let (_, outputs, _) = step(Direction::Outgoing, false, &state, input);
        let wanted = Notification { code, subcode, data: vec![message_type] };
        assert_eq!(outputs[0], Output::SendNotification(wanted.clone()));
        assert!(matches!(&outputs[2], Output::Refused(DownReason::Sent(n)) | Output::Down(DownReason::Sent(n)) if *n == wanted));
    }
}

#[test]
fn timers_are_set_as_negotiated() {
    let (next, ..) = step(Direction::Outgoing, false, &Connection::Connect { give_up: at(10) }, Input::Connected);
    assert_eq!(next, Connection::OpenSent { hold: at(240) }, "the large hold time");
    let (incoming, ..) = step(Direction::Incoming, false, &Connection::Active { retry: None }, Input::Connected);
    assert_eq!(incoming, Connection::OpenSent { hold: at(60) }, "who connects has nothing to wait for");
    let (next, ..) = step(Direction::Outgoing, false, &next, Input::Open(Ok(negotiated())));
    let Connection::OpenConfirm { hold, keepalive, .. } = &next else { panic!("{next:?}") };
    assert_eq!(*hold, Some(at(90)));
    assert!(keepalive.is_some_and(|next| next >= NOW + Duration::from_millis(22_500) && next <= at(30)));
    let (next, ..) = step(Direction::Outgoing, false, &next, Input::Keepalive);
    let Connection::Established { hold, send_hold, since, .. } = &next else { panic!("{next:?}") };
    assert_eq!((*hold, *send_hold, *since), (Some(at(90)), Some(at(480)), NOW));
}

#[test]
fn a_hold_time_of_zero_runs_no_timer() {
    let mut agreed = negotiated();
    agreed.hold_time_secs = 0;
    let (next, ..) = step(Direction::Outgoing, false, &Connection::OpenSent { hold: at(9) }, Input::Open(Ok(agreed)));
    let (next, ..) = step(Direction::Outgoing, false, &next, Input::Keepalive);
    let (next, ..) = step(Direction::Outgoing, false, &next, Input::Sent);
    assert_eq!((next.state(), next.next_deadline()), (State::Established, None));
}

/// Established for a while: the back-off starts over; not so after a session that fell at once.
#[test]
fn the_back_off_starts_over_after_a_steady_session() {
    for (since, least, most) in [(NOW, 15, 20), (Time::from_secs(930), 3, 5)] {
        let (config, mut timers, mut outputs) = (config(false), Timers::new(3), Vec::new());
        for _ in 0..2 {
            timers.retry(5);
        }
        let mut cx = Context {
            now: NOW,
            direction: Direction::Outgoing,
            config: &config,
            held: false,
            reports_sent: true,
            timers: &mut timers,
            outputs: &mut outputs,
        };
        let state = Connection::Established { negotiated: negotiated(), hold: None, keepalive: None, send_hold: None, since };
        let next = state.step(Input::HoldTimer, &mut cx);
        let Connection::Active { retry: Some(retry) } = next else { panic!("{next:?}") };
        let pause = retry.secs_since(NOW);
        assert!((least..=most).contains(&pause), "{pause} s");
    }
}
