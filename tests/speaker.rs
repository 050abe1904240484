//! What a whole daemon does when something changes while it runs: its configuration, its devices, what a neighbor says again.
//! The kernel room is played by hand, time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod daemon_support;
mod device_support;
mod hostile_support;

use std::collections::BTreeMap;
use std::time::Duration;

use daemon_support::{Daemon, NOW, exchange, to, vni};
use evpnd::base::{MacAddr, Time, Vni};
use evpnd::control::{Event, Reply, Request, VniAdd};
use evpnd::fib::{BatchDone, DeviceState, KernelCommand, KernelEvent, KernelRow, ReadyDevice};
use evpnd::speaker::{Action, RequestId};
use evpnd::wire::header::{MessageType, frame};
use evpnd::wire::route_refresh::{BEGIN, END, REQUEST, RouteRefresh};
use hostile_support::{Stage, announce, attributes, mac_route};

fn number(vni: u32) -> Vni {
    Vni::new(vni).unwrap()
}

fn add(vni: u32) -> VniAdd {
    VniAdd::new(number(vni))
}

fn done(reply: Reply) -> String {
    match reply {
        Reply::Done { message } => message,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused { message } => message,
        other => panic!("{other:?}"),
    }
}

/// The route distinguisher of every VNI.
fn rds(daemon: &mut Daemon) -> BTreeMap<u32, String> {
    match daemon.ask(Request::ShowVnis { vni: None, after: None, limit: None }) {
        Reply::Vnis(page) => page.items.into_iter().map(|view| (view.vni.get(), view.rd)).collect(),
        other => panic!("{other:?}"),
    }
}

/// The route distinguishers of the type 3 routes that it has.
fn announced(daemon: &mut Daemon) -> Vec<String> {
    let request = Request::ShowRoutes { route_type: Some(3), vni: None, rd: None, neighbor: None, after: None, limit: None };
    match daemon.ask(request) {
        Reply::Routes(page) => page.items.into_iter().map(|view| view.rd).collect(),
        other => panic!("{other:?}"),
    }
}

/// The device of a VNI is ready and empty.
fn adopt(daemon: &mut Daemon, vni: u32) {
    let device = ReadyDevice { vni: number(vni), ifindex: vni, ..Daemon::device() };
    daemon.kernel(KernelEvent::Device(DeviceState::Ready(device)));
    let token = daemon.dump_token();
    daemon.kernel(KernelEvent::Rows { token, vni: number(vni), rows: Ok(Vec::new()) });
}

fn assert_distinct(rds: &BTreeMap<u32, String>) {
    let mut all: Vec<&String> = rds.values().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), rds.len(), "{rds:?}");
}

// ---- route distinguishers ----

#[test]
fn vnis_added_one_after_the_other_have_route_distinguishers_of_their_own() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    done(daemon.ask(Request::VniAdd(add(200))));
    done(daemon.ask(Request::VniAdd(add(65_636))));
    let rds = rds(&mut daemon);
    assert_eq!(rds[&100], "10.0.0.1:100");
    assert_distinct(&rds);
}

#[test]
fn route_distinguishers_are_the_same_after_a_restart_in_whatever_order_vnis_came() {
    let files = ["[[vni]]\nid = 65636\n", "[[vni]]\nids = \"100,65636\"\n", "[[vni]]\nids = \"100,300,65636\"\n"];
    let mut daemon = Daemon::new(files[0]);
    for file in &files[1..] {
        done(daemon.ask_reload(file));
    }
    let before = rds(&mut daemon);
    let mut daemon = Daemon::with_kept("10.0.0.1", files[2], daemon.kept.unwrap());
    assert_eq!(rds(&mut daemon), before);
}

/// Hooks add their VNIs again after a start, in any order, and others may have come meanwhile.
#[test]
fn a_vni_of_a_hook_has_its_route_distinguisher_again_after_a_restart() {
    let file = "[[vni]]\nid = 100\n";
    let mut daemon = Daemon::new(file);
    done(daemon.ask(Request::VniAdd(add(65_636))));
    let before = rds(&mut daemon)[&65_636].clone();
    assert_eq!(before, "10.0.0.1:101");
    let mut daemon = Daemon::with_kept("10.0.0.1", file, daemon.kept.unwrap());
    done(daemon.ask(Request::VniAdd(add(101))));
    done(daemon.ask(Request::VniAdd(add(65_636))));
    assert_eq!(rds(&mut daemon)[&65_636], before);
    // Also where it was away for a while.
    done(daemon.ask(Request::VniDel { vni: number(65_636), caller: None }));
    done(daemon.ask(Request::VniAdd(add(131_172))));
    done(daemon.ask(Request::VniAdd(add(65_636))));
    let rds = rds(&mut daemon);
    assert_eq!(rds[&65_636], before);
    assert_distinct(&rds);
}

#[test]
fn a_route_distinguisher_of_the_file_is_no_other_vnis() {
    let explicit = "[[vni]]\nid = 100\nrd = \"10.0.0.1:200\"\n";
    let mut daemon = Daemon::new(&format!("{explicit}[[vni]]\nid = 200\n"));
    assert_eq!(rds(&mut daemon), BTreeMap::from([(100, "10.0.0.1:200".to_owned()), (200, "10.0.0.1:201".to_owned())]));

    // Also one that comes when another VNI has it already: that one moves.
    let mut daemon = Daemon::new("[[vni]]\nid = 200\n");
    adopt(&mut daemon, 200);
    assert_eq!(announced(&mut daemon), ["10.0.0.1:200"]);
    done(daemon.ask_reload(&format!("{explicit}[[vni]]\nid = 200\n")));
    adopt(&mut daemon, 100);
    assert_eq!(announced(&mut daemon), ["10.0.0.1:200", "10.0.0.1:201"]);
    assert_eq!(rds(&mut daemon)[&200], "10.0.0.1:201");
}

#[test]
fn a_route_distinguisher_that_is_taken_is_refused_at_run_time() {
    let mut daemon = Daemon::new("[[vni]]\nid = 200\n");
    let taken = VniAdd { rd: Some("10.0.0.1:200".to_owned()), ..add(300) };
    assert_eq!(refused(daemon.ask(Request::VniAdd(taken))), "VNI 200 has this route distinguisher already");
    // Nor does a file get one that a VNI has which was added at run time.
    let own = VniAdd { rd: Some("65000:7".to_owned()), ..add(300) };
    done(daemon.ask(Request::VniAdd(own)));
    let file = "[[vni]]\nid = 400\nrd = \"65000:7\"\n";
    let message = refused(daemon.ask_reload(file));
    assert!(message.contains("VNI 400") && message.contains("evpnctl vni del 300"), "{message}");
    assert_eq!(rds(&mut daemon).keys().copied().collect::<Vec<_>>(), [200, 300], "nothing was applied");
    done(daemon.ask(Request::VniDel { vni: number(300), caller: None }));
    done(daemon.ask_reload(file));
}

#[test]
fn two_vnis_may_exchange_their_route_distinguishers() {
    let file = |a: u32, b: u32| format!("[[vni]]\nid = 1\nrd = \"65000:{a}\"\n[[vni]]\nid = 2\nrd = \"65000:{b}\"\n");
    let mut daemon = Daemon::new(&file(7, 8));
    adopt(&mut daemon, 1);
    adopt(&mut daemon, 2);
    done(daemon.ask_reload(&file(8, 7)));
    assert_eq!(announced(&mut daemon), ["65000:7", "65000:8"]);
    assert_eq!(rds(&mut daemon)[&1], "65000:8");
}

// ---- devices that are down ----

#[test]
fn a_vni_whose_device_is_down_is_not_announced() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    let down = || KernelEvent::Device(DeviceState::Ready(ReadyDevice { up: false, ..Daemon::device() }));
    daemon.kernel(down());
    let token = daemon.dump_token();
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(Vec::new()) });
    assert!(announced(&mut daemon).is_empty());
    daemon.device_ready();
    assert_eq!(announced(&mut daemon), ["10.0.0.1:100"]);
    // Down for a moment: nobody need know.
    daemon.kernel(down());
    daemon.pass(Duration::from_millis(500));
    daemon.device_ready();
    daemon.pass(Duration::from_secs(5));
    assert_eq!(announced(&mut daemon), ["10.0.0.1:100"]);
    daemon.kernel(down());
    daemon.pass(Duration::from_millis(900));
    assert_eq!(announced(&mut daemon), ["10.0.0.1:100"]);
    daemon.pass(Duration::from_millis(200));
    assert!(announced(&mut daemon).is_empty());
    let told = std::iter::from_fn(|| daemon.speaker.poll_event()).map(|event| event.to_string()).collect::<Vec<_>>();
    assert!(told.iter().any(|line| line.contains("VNI 100 is withdrawn: its device vxlan100")), "{told:?}");
    daemon.device_ready();
    assert_eq!(announced(&mut daemon), ["10.0.0.1:100"]);
}

// ---- reload ----

/// What needs a restart holds nothing else back.
#[test]
fn a_reload_applies_what_it_says_it_applies() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    daemon.adopt();
    daemon.commands();
    let more = "listen-port = 1179\n[control]\ngroup = \"adm\"\n[vxlan]\nport = 4790\nnexthop-groups = true\n[[vni]]\nid = 100\n";
    daemon.speaker.reload(NOW, Ok(Daemon::config("10.0.0.1", more)), None);
    let commands = daemon.commands();
    let specs: Vec<(u16, bool)> = commands
        .iter()
        .filter_map(|command| if let KernelCommand::Devices(specs) = command { specs.last() } else { None })
        .map(|spec| (spec.port, spec.nexthop_groups))
        .collect();
    assert_eq!(specs, [(4790, true)]);
    let told: Vec<Event> = std::iter::from_fn(|| daemon.speaker.poll_event()).collect();
    let Some(Event::ConfigReloaded { changes, needs_restart }) = told.last() else { panic!("{told:?}") };
    let anew = "VNI 100 loses frames for a moment: no kernel changes that on a device that stands, so its device is made anew";
    assert_eq!(changes, &["the UDP port of devices that evpnd makes is 4790", "rows are written again, by nexthop groups", anew]);
    assert_eq!(needs_restart, &["listen-port from 179 to 1179", "the control socket's group from none to adm"]);
    // They are still the next reload's difference.
    let message = done(daemon.ask_reload(more));
    assert!(message.contains("listen-port from 179 to 1179") && !message.contains("4790"), "{message}");
}

/// Import targets and whether it is a request's, of a VNI.
fn shown(daemon: &mut Daemon, vni: u32) -> (Vec<String>, bool) {
    match daemon.ask(Request::ShowVnis { vni: Some(number(vni)), after: None, limit: None }) {
        Reply::Vnis(page) => (page.items[0].import.clone(), page.items[0].run_time),
        other => panic!("{other:?}"),
    }
}

/// The settings of the last wish for a VNI's device: MTU and group.
fn wished(daemon: &mut Daemon, vni: u32) -> (Option<u32>, Option<std::net::IpAddr>) {
    let commands = daemon.commands();
    let mut lists =
        commands.iter().filter_map(|command| if let KernelCommand::Devices(specs) = command { Some(specs) } else { None });
    let spec = lists.next_back().and_then(|specs| specs.iter().find(|spec| spec.vni == number(vni)).cloned()).unwrap();
    (spec.mtu, spec.group)
}

fn held(vni: u32) -> Request {
    Request::VniAdd(VniAdd { caller: Some("web".to_owned()), ..add(vni) })
}

/// What the next restart would change by itself, the reload changes.
#[test]
fn a_vni_that_leaves_the_file_has_the_settings_of_its_callers_at_once() {
    let mut daemon = Daemon::new("[[vni]]\nid = 300\nimport = [\"65000:9\"]\nflood = \"multicast\"\ngroup = \"239.1.1.1\"\n");
    done(daemon.ask(held(300)));
    assert_eq!(shown(&mut daemon, 300), (vec!["65000:9".to_owned()], false));
    daemon.speaker.reload(NOW, Ok(Daemon::config("10.0.0.1", "")), None);
    assert_eq!(wished(&mut daemon, 300), (None, None));
    let told: Vec<String> = std::iter::from_fn(|| daemon.speaker.poll_event()).map(|event| event.to_string()).collect();
    let said = told.last().unwrap();
    assert!(said.contains("stays for its callers") && said.contains("VNI 300 changed (import, flood)"), "{said}");
    let after = shown(&mut daemon, 300);
    let mut again = Daemon::new("");
    done(again.ask(held(300)));
    assert_eq!(after, shown(&mut again, 300));
}

#[test]
fn other_defaults_reach_what_callers_hold() {
    let mut daemon = Daemon::new("");
    done(daemon.ask(held(300)));
    done(daemon.ask(Request::VniAdd(VniAdd { mtu: Some(1300), ..add(301) })));
    let defaults = "[vni-defaults]\nimport = [\"65000:9\"]\nmtu = 1400\n";
    daemon.speaker.reload(NOW, Ok(Daemon::config("10.0.0.1", defaults)), None);
    assert_eq!(wished(&mut daemon, 300).0, Some(1400));
    assert_eq!(shown(&mut daemon, 300).0, ["65000:9"]);
    done(daemon.ask_reload(defaults));
    daemon.speaker.reload(NOW, Ok(Daemon::config("10.0.0.1", "")), None);
    assert_eq!(wished(&mut daemon, 301).0, Some(1300), "as it was asked for");
}

#[test]
fn a_file_that_takes_a_name_of_what_callers_hold_is_refused_whole() {
    let mut daemon = Daemon::new("");
    done(daemon.ask(held(300)));
    let file = "[[vni]]\nid = 400\nbridge = \"br300\"\n";
    let message = refused(daemon.ask_reload(file));
    assert!(message.contains("br300 belongs to VNI 400") && message.contains("evpnctl vni del 300"), "{message}");
    assert_eq!(rds(&mut daemon).keys().copied().collect::<Vec<_>>(), [300]);
    done(daemon.ask(Request::VniDel { vni: number(300), caller: None }));
    done(daemon.ask_reload(file));
}

#[test]
fn another_connect_retry_is_heeded_by_the_next_attempt() {
    let neighbor = |retry: u32| format!("[[neighbor]]\naddress = \"10.0.0.2\"\nconnect-retry = {retry}\n");
    let mut daemon = Daemon::new(&neighbor(100));
    // The pause that has begun ends as it was; the next one is as configured now.
    attempt_fails(&mut daemon);
    done(daemon.ask_reload(&neighbor(2)));
    let second = attempt_fails(&mut daemon);
    let third = attempt_fails(&mut daemon);
    assert!(
        second.since(NOW) >= Duration::from_secs(75) && third.since(second) <= Duration::from_secs(4),
        "{second:?} {third:?}"
    );
}

/// Time passes until the next attempt to connect, which fails. When it was.
fn attempt_fails(daemon: &mut Daemon) -> Time {
    loop {
        while let Some(action) = daemon.speaker.poll_action() {
            if let Action::Connect(conn, _) = action {
                daemon.speaker.handle_connect_failed(daemon.now, conn, "refused");
                return daemon.now;
            }
        }
        daemon.now = daemon.speaker.poll_timeout().unwrap().0;
        daemon.speaker.handle_timeout(daemon.now);
    }
}

#[test]
fn a_neighbor_that_is_disabled_is_told_that_it_is_for_good() {
    let (mut here, mut there, [ours, theirs]) = Daemon::with_route();
    exchange(&mut here, ours, &mut there, theirs);
    let config = Daemon::config("10.0.0.1", "[[neighbor]]\naddress = \"10.0.0.2\"\nenabled = false\n[[vni]]\nid = 100\n");
    here.speaker.reload(here.now, Ok(config), None);
    let last = std::iter::from_fn(|| here.speaker.poll_action())
        .find_map(|action| if let Action::Close(_, octets) = action { Some(octets) } else { None });
    there.speaker.handle_octets(there.now, theirs, &last.unwrap());
    there.speaker.handle_closed(there.now, theirs, "closed");
    let told: Vec<Event> = std::iter::from_fn(|| there.speaker.poll_event()).collect();
    let down = told.iter().find_map(|event| match event {
        Event::SessionDown { reason, kept_secs, .. } => Some((reason.clone(), *kept_secs)),
        _ => None,
    });
    let (reason, kept) = down.unwrap_or_else(|| panic!("{told:?}"));
    assert!(reason.contains("disabled"), "{reason}");
    assert_eq!(kept, None, "its routes go at once: {reason}");
}

// ---- questions that the kernel has a part in ----

/// The reply to a question for which the kernel room is asked for the rows of VNI 100, which are these.
fn diff(daemon: &mut Daemon, after: Option<&str>, limit: Option<u32>, rows: Vec<KernelRow>) -> Reply {
    let request = Request::Diff { after: after.map(str::to_owned), limit };
    daemon.speaker.handle_request(daemon.now, RequestId(9), request);
    loop {
        let event = match daemon.speaker.poll_action().expect("a reply") {
            Action::Reply(RequestId(9), reply) => return *reply,
            Action::Kernel(KernelCommand::Dump { token, vni, .. }) => KernelEvent::Rows { token, vni, rows: Ok(rows.clone()) },
            Action::Kernel(KernelCommand::DumpNeighbors { token, vni }) => {
                KernelEvent::Neighbors { token, vni, neighbors: Ok(Vec::new()) }
            }
            _ => continue,
        };
        daemon.speaker.handle_kernel(daemon.now, event);
    }
}

fn stranger(last: u8) -> KernelRow {
    KernelRow::new(MacAddr([2, 0, 0, 0, 0, last]), to("10.0.0.9"))
}

/// What is different may be mended between two pages: none of the others is left out for it.
#[test]
fn the_pages_of_diff_leave_nothing_out() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    daemon.adopt();
    let page = |reply: Reply| match reply {
        Reply::Diff(page) => (page.items.iter().map(|view| view.mac.0[5]).collect::<Vec<_>>(), page.next),
        other => panic!("{other:?}"),
    };
    let (macs, next) = page(diff(&mut daemon, None, Some(1), vec![stranger(1), stranger(2), stranger(3)]));
    assert_eq!(macs, [1]);
    let (macs, next) = page(diff(&mut daemon, next.as_deref(), Some(1), vec![stranger(2), stranger(3)]));
    assert_eq!(macs, [2]);
    let (macs, next) = page(diff(&mut daemon, next.as_deref(), Some(1), vec![stranger(2), stranger(3)]));
    assert_eq!((macs, next), (vec![3], None));
    let reply = diff(&mut daemon, Some("7"), None, Vec::new());
    assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
}

#[test]
fn diff_tells_of_what_it_could_not_compare_beside_what_differs() {
    let mut daemon = Daemon::new("[[vni]]\nids = \"100,200\"\n");
    daemon.adopt();
    let Reply::Diff(page) = diff(&mut daemon, None, None, vec![stranger(1)]) else { panic!("no list") };
    let states: Vec<&str> = page.items.iter().map(|view| view.state.as_str()).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[1], "not compared: VNI 200 is not ready");
    assert_eq!(refused(diff(&mut daemon, None, None, Vec::new())), "VNI 200 is not ready");
}

#[test]
fn explain_ends_in_a_sentence() {
    fn conclusion(daemon: &mut Daemon, mac: MacAddr, row: Option<&str>) -> String {
        daemon.speaker.handle_request(daemon.now, RequestId(9), Request::Explain { vni: vni(), mac });
        let mut reply = None;
        while let Some(action) = daemon.speaker.poll_action() {
            match action {
                Action::Kernel(KernelCommand::GetRow { token, .. }) => {
                    daemon.speaker.handle_kernel(daemon.now, KernelEvent::Row { token, row: row.map(str::to_owned) });
                }
                Action::Reply(_, found) => reply = Some(*found),
                _ => {}
            }
        }
        match reply {
            Some(Reply::Explanation(explanation)) => explanation.conclusion,
            other => panic!("{other:?}"),
        }
    }
    let (mut here, mut there, _) = Daemon::with_route();
    let mac = daemon_support::MAC;
    let batch = here.commands().into_iter().find_map(|command| match command {
        KernelCommand::Write(batch) if batch.ops.iter().any(|op| op.mac == mac) => Some(batch),
        _ => None,
    });
    assert_eq!(
        conclusion(&mut here, mac, None),
        "frames to 02:00:00:00:00:01 should go to VTEP 10.0.0.2, but the row is being written"
    );
    let id = batch.unwrap().id;
    here.kernel(KernelEvent::BatchDone(BatchDone { id, ..BatchDone::default() }));
    assert_eq!(
        conclusion(&mut here, mac, Some("dst 10.0.0.2")),
        "frames to 02:00:00:00:00:01 go to VTEP 10.0.0.2, and the kernel agrees"
    );
    assert_eq!(
        conclusion(&mut here, mac, None),
        "frames to 02:00:00:00:00:01 should go to VTEP 10.0.0.2, but the kernel has no row: see `evpnctl diff`"
    );
    assert_eq!(conclusion(&mut there, mac, None), "frames to 02:00:00:00:00:01 go to local port tap3");
    assert_eq!(
        conclusion(&mut here, MacAddr([2, 0, 0, 0, 0, 9]), None),
        "frames to 02:00:00:00:00:09 are flooded as unknown unicast to the flood list"
    );
    here.kernel(KernelEvent::DeviceGone { vni: vni(), reason: "it was removed".to_owned() });
    assert_eq!(conclusion(&mut here, mac, None), "VNI 100 has no usable device: nothing is sent (evpnctl show vnis 100)");
}

#[test]
fn the_story_has_a_beginning_and_an_end() {
    let mut daemon = Daemon::new("");
    daemon.speaker.shutdown(daemon.now, "SIGTERM");
    let told: Vec<Event> = std::iter::from_fn(|| daemon.speaker.poll_event()).collect();
    assert!(matches!(&told[0], Event::Started { asn, .. } if asn.0 == 65000), "{told:?}");
    assert_eq!(told.last(), Some(&Event::Stopping { reason: "SIGTERM".to_owned() }));
}

// ---- route refresh ----

fn refresh(subtype: u8) -> Vec<u8> {
    let mut out = Vec::new();
    RouteRefresh::evpn(subtype).emit(&mut out);
    out
}

/// Time passes, and the session lives on KEEPALIVEs.
fn wait(stage: &mut Stage, secs: u64) {
    for _ in 0..secs / 20 {
        stage.pass(Duration::from_secs(20));
        assert!(stage.hostile_says(&hostile_support::keepalive()));
        while stage.hostile_reads(1 << 16) > 0 {}
    }
}

/// A daemon with three routes of a neighbor.
fn with_routes() -> Stage {
    let mut stage = Stage::new("", "");
    assert!(stage.hostile_comes_up(true));
    assert!(stage.hostile_says(&routes(0..3)));
    assert_eq!(stage.other_rows(), 3);
    stage
}

fn routes(which: std::ops::Range<u32>) -> Vec<u8> {
    announce(&attributes(66, hostile_support::VNI), which.map(|n| mac_route(66, n)))
}

#[test]
fn what_a_neighbor_does_not_say_again_in_a_route_refresh_goes_at_its_end() {
    let mut stage = with_routes();
    assert!(stage.hostile_says(&[refresh(BEGIN), routes(0..1)].concat()));
    stage.pass(Duration::from_secs(30));
    assert_eq!(stage.other_rows(), 3, "all of it stays until the end");
    assert!(stage.hostile_says(&[routes(4..5), refresh(END)].concat()));
    assert_eq!(stage.other_rows(), 2);
    let swept = |event: &&Event| matches!(event, Event::RoutesSwept { routes: 2, why, .. } if why.contains("route refresh"));
    assert_eq!(stage.events.iter().filter(swept).count(), 1);
    // An end without a beginning is ignored.
    assert!(stage.hostile_says(&refresh(END)));
    assert_eq!((stage.other_rows(), stage.neighbor(hostile_support::HOSTILE).routes_received), (2, 2));
    stage.assert_unharmed();
}

/// RFC 7313 §4: the time for which a route may wait is bounded.
#[test]
fn a_route_refresh_that_does_not_end_is_ended() {
    let mut stage = with_routes();
    assert!(stage.hostile_says(&[refresh(BEGIN), routes(0..2)].concat()));
    wait(&mut stage, 340);
    assert!(stage.hostile_says(&refresh(REQUEST)));
    assert_eq!(stage.other_rows(), 3);
    wait(&mut stage, 40);
    assert_eq!(stage.other_rows(), 2);
    stage.assert_unharmed();
}

/// A session that breaks in the middle of a refresh loses no more than any other: what was not confirmed yet is as good as the
/// rest.
#[test]
fn a_session_that_is_lost_during_a_route_refresh_keeps_its_routes_like_any_other() {
    let mut stage = with_routes();
    assert!(stage.hostile_says(&[refresh(BEGIN), routes(0..1)].concat()));
    stage.hostile_closes();
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.other_rows(), 3, "held for loss-hold-time");
    assert!(stage.hostile_comes_up(true));
    assert!(stage.hostile_says(&routes(0..3)));
    stage.pass(Duration::from_secs(200));
    stage.assert_session_unharmed();
}

/// Each beginning costs a walk in the end: who asks for it all the time is not heard, and has no more routes by it than it may.
#[test]
fn route_refreshes_without_end_cost_neither_time_nor_room() {
    let mut stage = Stage::new("max-routes = 100\n", "");
    assert!(stage.hostile_comes_up(true));
    for round in 0..20 {
        assert!(stage.hostile_says(&[refresh(BEGIN), routes(round..round + 1), refresh(END), refresh(BEGIN)].concat()));
    }
    for _ in 0..400 {
        assert!(stage.hostile_says(&refresh(BEGIN)));
    }
    assert!(stage.counter("speaker_refreshes_ignored") > 0);
    // Up to the limit in every refresh: in all it is still the limit.
    let mut stands = true;
    for round in 0..10 {
        stands = stands && stage.hostile_says(&[refresh(BEGIN), routes(100 * round..100 * round + 60)].concat());
    }
    assert!(!stands, "600 routes where 100 are allowed");
    stage.assert_unharmed();
}

#[test]
fn a_route_refresh_is_answered_with_everything_between_its_marks() {
    let mut stage = with_routes();
    // Until it has said End-of-RIB, before which no mark may stand.
    wait(&mut stage, 140);
    stage.to_hostile.clear();
    assert!(stage.hostile_says(&refresh(REQUEST)));
    while stage.hostile_reads(1 << 16) > 0 {}
    let mut kinds = Vec::new();
    let mut rest = &stage.to_hostile[..];
    while let Ok(Some(frame)) = frame(rest, 65_535) {
        kinds.push((frame.message_type, (frame.message_type == MessageType::RouteRefresh).then(|| frame.body[2])));
        rest = &rest[frame.len..];
    }
    kinds.dedup();
    let mark = |subtype| (MessageType::RouteRefresh, Some(subtype));
    assert_eq!(kinds, [mark(BEGIN), (MessageType::Update, None), mark(END)]);
}
