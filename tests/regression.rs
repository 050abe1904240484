//! One test for every bug that was found by running evpnd, named for what broke. Most were met by the simulation
//! (`tests/sim.rs`); each stands here in the few steps that it needs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod daemon_support;
mod device_support;

use std::net::IpAddr;
use std::time::Duration;

use daemon_support::{Daemon, MAC, NEIGHBOR, NOW, connect, exchange, heard, to, vni};
use evpnd::base::{MacAddr, Time};
use evpnd::control::{Reply, Request, VniAdd};
use evpnd::evpn::Sequences;
use evpnd::fib::{
    BatchDone, Binding, CheckedRow, DeviceState, Fib, KernelCommand, KernelEvent, KernelNeighbor, KernelRow, LocalMac,
    NeighborOwner, Op, OpKind, ReadyDevice,
};
use evpnd::speaker::{Action, ConnId, KeptState, RequestId};

/// Cuts one batch and acknowledges it.
fn carry_out(fib: &mut Fib) -> Vec<(OpKind, MacAddr)> {
    let Some(batch) = fib.poll_batch(NOW) else { return Vec::new() };
    fib.handle_batch_done(NOW, &BatchDone { id: batch.id, ..BatchDone::default() });
    batch.ops.into_iter().map(|Op { kind, mac, .. }| (kind, mac)).collect()
}

/// A machine moved here while the daemon was down: the port took the bridge's half of its row, and the VXLAN half stood for
/// ever, so that frames for the machine went to the old host once the bridge had forgotten it.
#[test]
fn half_a_row_that_was_left_by_an_earlier_run_is_removed() {
    let half = KernelRow { bridged: false, ..KernelRow::new(MAC, to("10.0.0.2")) };
    let mut fib = Fib::new(1);
    fib.device_ready(NOW, vni(), 7, Some(false), vec![half]);
    assert_eq!(carry_out(&mut fib), []);
    fib.sweep(NOW);
    assert_eq!(carry_out(&mut fib), [(OpKind::DeleteUnicast { self_only: true }, MAC)]);
    assert!(fib.is_cleared(vni()));

    // Wanted as it stands, it is written all the same: the bridge's half is missing.
    let mut fib = Fib::new(1);
    fib.device_ready(NOW, vni(), 7, Some(false), vec![half]);
    fib.set_unicast(NOW, vni(), MAC, to("10.0.0.2"));
    assert_eq!(carry_out(&mut fib), [(OpKind::ReplaceUnicast, MAC)]);
}

/// ifupdown2 took an entry of its list away in the first seconds after a start, while we wanted the same: it was taken for an older
/// notification of ours, and broadcasts to that VTEP were lost until the next audit.
#[test]
fn a_flood_entry_of_the_platform_that_goes_soon_after_the_start_is_written() {
    let theirs = KernelRow { ext_learned: false, ..KernelRow::new(MacAddr::ZERO, to("10.0.0.2")) };
    let mut fib = Fib::new(1);
    fib.set_flood(Time::from_secs(1), vni(), theirs.remote);
    fib.device_ready(Time::from_secs(1), vni(), 7, Some(false), vec![theirs]);
    assert_eq!(fib.poll_batch(Time::from_secs(1)), None);
    let (counts, _) = fib.counts();
    assert_eq!((counts.wanted, counts.in_sync), (1, 1), "theirs is as good");
    fib.handle_row_gone(Time::from_secs(3), vni(), &theirs);
    assert_eq!(carry_out(&mut fib), [(OpKind::AppendFlood, MacAddr::ZERO)]);
}

/// The rows of an earlier run could not be read when the device was ready (EINTR, ENOBUFS): they were never looked at again,
/// and those that no route confirmed stood for ever.
#[test]
fn rows_that_could_not_be_read_are_read_later() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    daemon.device_ready();
    let token = daemon.dump_token();
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Err("Interrupted".to_owned()) });
    // State is saved first.
    let mut why = "";
    while why != "rows to read again" {
        let at;
        (at, why) = daemon.speaker.poll_timeout().unwrap();
        assert!(at < Time::from_secs(60), "nothing reads them again: {why}");
        daemon.now = at;
        daemon.speaker.handle_timeout(at);
    }
    let token = daemon.dump_token();
    let row = KernelRow::new(MAC, to("10.0.0.2"));
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(vec![row]) });
    // Until the sweep, and past the audits on the way there.
    while let Some((at, _)) = daemon.speaker.poll_timeout().filter(|(at, _)| *at <= Time::from_secs(125)) {
        daemon.speaker.handle_timeout(at);
    }
    let commands = daemon.commands();
    let deletes = |command: &KernelCommand| matches!(command, KernelCommand::Write(batch) if batch.ops[0].mac == MAC);
    assert!(commands.iter().any(deletes), "{commands:?}");
}

/// On SIGTERM the sessions are closed and their routes forgotten; a request or a connection that came while the last words
/// were on their way carried that on to the kernel, and the rows that were to stand were deleted.
#[test]
fn a_daemon_that_stops_leaves_its_rows_alone_whatever_is_asked() {
    let (mut daemon, ..) = Daemon::with_route();
    assert!(acknowledge(&mut daemon, 0) > 0);
    daemon.commands();
    daemon.speaker.shutdown(daemon.now, "the daemon stops");
    daemon.speaker.handle_request(daemon.now, RequestId(1), Request::ShowStatus {});
    daemon.speaker.handle_work(daemon.now);
    assert_eq!(daemon.commands(), []);
    assert!(!daemon.speaker.has_work());
}

/// `vni del` and, before the kernel had deleted the rows, `vni add`: the kernel room had never heard that the VNI left, so it
/// did not tell of its device again, and the VNI was never announced.
#[test]
fn a_vni_deleted_and_added_again_at_once_gets_its_device_back() {
    let mut daemon = Daemon::new("");
    daemon.speaker.handle_request(daemon.now, RequestId(1), Request::VniAdd(VniAdd::new(vni())));
    daemon.device_ready();
    let token = daemon.dump_token();
    let row = KernelRow::new(MAC, to("10.0.0.2"));
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(vec![row]) });
    daemon.commands();
    daemon.speaker.handle_request(daemon.now, RequestId(2), Request::VniDel { vni: vni(), caller: None });
    daemon.speaker.handle_request(daemon.now, RequestId(3), Request::VniAdd(VniAdd::new(vni())));
    let commands = daemon.commands();
    let lists =
        commands.iter().filter_map(|command| if let KernelCommand::Devices(specs) = command { Some(specs.len()) } else { None });
    assert_eq!(lists.collect::<Vec<_>>(), [0, 1], "{commands:?}");
}

/// A MAC of ours was won by a remote host, the kernel refused the row, and the remote host withdrew: the port had kept the
/// MAC all the time, so that nothing was heard of it any more, and nobody announced it.
#[test]
fn a_mac_whose_row_was_refused_is_looked_for_at_its_port_when_the_remote_host_withdraws() {
    let (mut here, mut there, [ours, theirs], mac) = with_a_local_mac();
    // Heard there again: the row that is to follow is refused.
    there.kernel(KernelEvent::LocalMac(LocalMac { port: 5, ..mac.clone() }));
    exchange(&mut here, ours, &mut there, theirs);
    acknowledge(&mut here, 12);
    there.kernel(KernelEvent::LocalMacGone { vni: vni(), mac: MAC });
    exchange(&mut here, ours, &mut there, theirs);
    let commands = here.commands();
    assert!(commands.contains(&KernelCommand::ResyncLocal), "{commands:?}");
    here.kernel(KernelEvent::LocalMacs { vni: vni(), macs: vec![mac] });
    exchange(&mut here, ours, &mut there, theirs);
    let wants = |command: &KernelCommand| matches!(command, KernelCommand::Write(batch) if batch.ops.iter().any(|op| op.kind == OpKind::ReplaceUnicast));
    let commands = there.commands();
    assert!(commands.iter().any(wants), "announced again: {commands:?}");
}

/// Two daemons of which the first heard a MAC at its port, and told the other.
fn with_a_local_mac() -> (Daemon, Daemon, [ConnId; 2], LocalMac) {
    let (mut here, mut there, [ours, theirs]) = Daemon::with_route();
    let mac = LocalMac { vni: vni(), mac: MAC, port: 4, port_name: "tap4".to_owned(), is_static: false };
    acknowledge(&mut here, 0);
    here.kernel(KernelEvent::LocalMac(mac.clone()));
    acknowledge(&mut here, 0);
    exchange(&mut here, ours, &mut there, theirs);
    (here, there, [ours, theirs], mac)
}

/// Answers the writes that `daemon` wants, those of unicast rows with this errno. How many batches there were.
fn acknowledge(daemon: &mut Daemon, errno: i32) -> usize {
    let mut batches = 0;
    for command in daemon.commands() {
        let KernelCommand::Write(batch) = command else { continue };
        batches += 1;
        let unicast = |op: &Op| errno != 0 && op.kind == OpKind::ReplaceUnicast;
        let errors = (0..).zip(&batch.ops).filter(|(_, op)| unicast(op)).map(|(index, _)| (index, errno)).collect();
        daemon.kernel(KernelEvent::BatchDone(BatchDone { id: batch.id, errors, ..BatchDone::default() }));
    }
    batches
}

/// The same where no row was written because the operator's own stands there.
#[test]
fn a_mac_with_a_row_of_the_operators_is_looked_for_at_its_port_too() {
    let mut fib = Fib::new(1);
    let row = KernelRow { ext_learned: false, permanent: true, ..KernelRow::new(MAC, to("192.0.2.1")) };
    fib.device_ready(NOW, vni(), 7, Some(false), vec![row]);
    fib.set_unicast(NOW, vni(), MAC, to("10.0.0.2"));
    assert_eq!(carry_out(&mut fib), []);
    assert!(fib.may_be_left_to_bridge(vni(), MAC));
}

/// A MAC of ours was won by a remote host and its row written; then it came back to our port, and the notification was lost in
/// an overflow: what was read after it was taken for older than the row, and the MAC stayed where it was no more.
#[test]
fn a_mac_that_came_back_while_notifications_were_lost_is_announced_again() {
    let (mut here, mut there, [ours, theirs], mac) = with_a_local_mac();
    acknowledge(&mut there, 0);
    there.kernel(KernelEvent::LocalMac(LocalMac { port: 5, ..mac.clone() }));
    exchange(&mut here, ours, &mut there, theirs);
    // Read before our row was written: that is old.
    here.kernel(KernelEvent::LocalMacs { vni: vni(), macs: vec![mac.clone()] });
    exchange(&mut here, ours, &mut there, theirs);
    assert_eq!(unicast_writes(&mut there), 0);
    assert_eq!(acknowledge(&mut here, 0), 1);
    // Read after it: a port has heard it since.
    here.kernel(KernelEvent::LocalMacs { vni: vni(), macs: vec![mac] });
    exchange(&mut here, ours, &mut there, theirs);
    assert_eq!(unicast_writes(&mut there), 1);
}

/// Acknowledges the writes that `daemon` wants. How many rows of MACs were among them.
fn unicast_writes(daemon: &mut Daemon) -> usize {
    let mut count = 0;
    for command in daemon.commands() {
        let KernelCommand::Write(batch) = command else { continue };
        count += batch.ops.iter().filter(|op| op.kind == OpKind::ReplaceUnicast).count();
        daemon.kernel(KernelEvent::BatchDone(BatchDone { id: batch.id, errors: Vec::new(), ..BatchDone::default() }));
    }
    count
}

/// Rows of an earlier run that no route confirmed were wanted gone at End-of-RIB, after the turn's batches had been cut: they
/// stood until something else woke the loop, a keepalive (half a minute) later.
#[test]
fn rows_that_nobody_confirmed_go_with_end_of_rib_and_not_with_the_next_keepalive() {
    let old = MacAddr([2, 0, 0, 0, 0, 0x77]);
    let row = KernelRow::new(old, to("10.0.0.9"));
    let (mut here, _, _) = Daemon::with_route_and_rows(vec![row]);
    let deletes = |command: &KernelCommand| matches!(command, KernelCommand::Write(batch) if batch.ops.iter().any(|op| op.mac == old && matches!(op.kind, OpKind::DeleteUnicast { .. })));
    let commands = here.commands();
    assert!(commands.iter().any(deletes), "{commands:?}");
}

/// The first audit was planned when some other timer fired: a daemon whose sessions were quiet, or that had none, did not audit.
#[test]
fn the_first_audit_comes_without_another_timer() {
    let mut daemon = Daemon::new("[[vni]]\nid = 100\n");
    daemon.device_ready();
    let token = daemon.dump_token();
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(Vec::new()) });
    daemon.commands();
    let end = NOW + Duration::from_secs(61);
    while let Some((at, _)) = daemon.speaker.poll_timeout().filter(|(at, _)| *at <= end) {
        daemon.now = at;
        daemon.speaker.handle_timeout(at);
    }
    let commands = daemon.commands();
    assert!(commands.contains(&KernelCommand::CheckDevices), "{commands:?}");
}

/// The first route heard after a restart moved a row that stood, though it was what a reflector kept of a host that is away and
/// the better one was to come from the next neighbor (RFC 4724 §4.1).
#[test]
fn a_row_of_an_earlier_run_is_not_moved_before_the_neighbors_have_said_all() {
    let stands = KernelRow::new(MAC, to("10.0.0.3"));
    let other = "[[neighbor]]\naddress = \"10.0.0.3\"\n";
    let (mut here, _, _) = Daemon::with_route_rows_and(vec![stands], other);
    let moves =
        |command: &KernelCommand| matches!(command, KernelCommand::Write(batch) if batch.ops.iter().any(|op| op.mac == MAC));
    let commands = here.commands();
    assert!(!commands.iter().any(moves), "{commands:?}");
    // A neighbor that is away does not hold it for long.
    here.now = NOW + Duration::from_secs(1);
    here.speaker.handle_timeout(here.now);
    let commands = here.commands();
    assert!(commands.iter().any(moves), "{commands:?}");
}

/// A listing that was read before our row was written showed an operator's entry in its place: the row was deleted before it was
/// written once more, and frames were flooded meanwhile.
#[test]
fn an_old_listing_has_no_row_deleted() {
    let mut fib = Fib::new(1);
    fib.device_ready(NOW, vni(), 7, Some(false), Vec::new());
    fib.set_unicast(NOW, vni(), MAC, to("10.0.0.2"));
    carry_out(&mut fib);
    let old = KernelRow { ext_learned: false, ..KernelRow::new(MAC, to("10.0.0.9")) };
    fib.handle_rows(NOW, vni(), &[old]);
    assert_eq!(carry_out(&mut fib), [(OpKind::RestoreUnicast, MAC)], "what stands is read before it is touched");
}

/// An audit that a reload turned on waited for another timer, and a change that needed a restart kept the whole of `[vxlan]` as it was.
#[test]
fn a_reload_that_turns_the_audit_on_plans_it() {
    let mut daemon = Daemon::new("[vxlan]\naudit-interval = 0\n");
    let audit = |daemon: &Daemon| daemon.speaker.poll_timeout().filter(|(_, why)| *why == "audit").map(|(at, _)| at);
    // With nothing else to wait for.
    while let Some((at, _)) = daemon.speaker.poll_timeout() {
        daemon.now = at;
        daemon.speaker.handle_timeout(at);
    }
    let said = daemon.reload("[vxlan]\naudit-interval = 20\n[limits]\nevent-buffer = 65536\n");
    assert!(said.contains("audit-interval is 20 s") && said.contains("event-buffer from 134217728 to 65536"), "{said}");
    assert!(!said.contains("[limits] changed"), "{said}");
    assert_eq!(audit(&daemon), Some(daemon.now + Duration::from_secs(20)));
    let said = daemon.reload("[limits]\nevent-buffer = 65536\n[vxlan]\naudit-interval = 0\n");
    assert!(said.contains("no audit") && said.contains("event-buffer"), "it is still not in force: {said}");
    assert_eq!(audit(&daemon), None);
}

/// A session that had said all it has before the first bridge was listed ended what an earlier run knew: MACs that had moved here
/// were announced with 0 again.
#[test]
fn sequence_numbers_of_an_earlier_run_wait_for_the_bridge() {
    let silent = MacAddr([2, 0, 0, 0, 0, 2]);
    let numbers = |macs: &[(MacAddr, u32)]| Sequences::from([(vni(), macs.iter().copied().collect())]);
    let kept = KeptState { sequences: numbers(&[(MAC, 5), (silent, 7)]), ..KeptState::default() };
    let mut here = Daemon::with_kept("10.0.0.1", &format!("{NEIGHBOR}[[vni]]\nid = 100\n"), kept);
    let mut there = Daemon::at("10.0.0.2", "[[neighbor]]\naddress = \"10.0.0.1\"\npassive = true\n");
    let [ours, theirs] = connect(&mut here, &mut there);
    exchange(&mut here, ours, &mut there, theirs);
    here.device_ready();
    let token = here.dump_token();
    here.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(Vec::new()) });
    here.kernel(KernelEvent::LocalMacs { vni: vni(), macs: vec![heard()] });
    let mut saved_until = |secs| {
        let mut saved = Vec::new();
        while let Some((at, _)) = here.speaker.poll_timeout().filter(|(at, _)| *at <= NOW + Duration::from_secs(secs)) {
            here.speaker.handle_timeout(at);
            let actions = std::iter::from_fn(|| here.speaker.poll_action());
            saved.extend(actions.filter_map(|action| if let Action::SaveSequences(all) = action { Some(all) } else { None }));
        }
        saved
    };
    assert_eq!(saved_until(250), [numbers(&[(MAC, 5), (silent, 7)])]);
    assert_eq!(saved_until(310), [numbers(&[(MAC, 5)])], "who is not heard for five minutes begins anew");
}

/// Each loss of notifications had every device read, though it was being read already: of a million rows, a minute each time.
#[test]
fn a_device_is_read_once_more_however_often_notifications_are_lost_meanwhile() {
    let dumps = |daemon: &mut Daemon| -> Vec<u64> {
        let token = |command| if let KernelCommand::Dump { token, .. } = command { Some(token) } else { None };
        daemon.commands().into_iter().filter_map(token).collect()
    };
    let (mut here, _, _) = Daemon::with_route();
    here.commands();
    (1..=50).for_each(|lost| here.kernel(KernelEvent::Overflow { lost }));
    let first = dumps(&mut here);
    assert_eq!(first.len(), 1);
    let answer = |daemon: &mut Daemon, token, rows| daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows });
    answer(&mut here, first[0], Ok(vec![KernelRow::new(MAC, to("10.0.0.2"))]));
    let second = dumps(&mut here);
    assert_eq!(second.len(), 1, "it may have been read before the last loss");
    here.kernel(KernelEvent::Overflow { lost: 51 });
    answer(&mut here, second[0], Err("no buffer space".to_owned()));
    let third = dumps(&mut here);
    assert_eq!(third.len(), 1);
    answer(&mut here, third[0], Ok(Vec::new()));
    assert!(dumps(&mut here).is_empty());
    here.kernel(KernelEvent::Overflow { lost: 52 });
    assert_eq!(dumps(&mut here).len(), 1, "and then as at first");
}

/// What another control plane wrote into a device of more than 4,096 rows was found by no audit, and stood.
#[test]
fn a_stranger_in_a_large_device_is_found_by_an_audit() {
    let rows: Vec<KernelRow> =
        (0..5000_u32).map(|n| KernelRow::new(MacAddr([2, 0, 0, 1, (n >> 8) as u8, n as u8]), to("10.0.0.9"))).collect();
    let mut daemon = Daemon::new("[vxlan]\naudit-interval = 10\n[[vni]]\nid = 100\n[[neighbor]]\naddress = \"10.0.0.2\"\n");
    daemon.device_ready();
    let token = daemon.dump_token();
    daemon.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(rows) });
    daemon.commands();
    let mut listed = Vec::new();
    while let Some((at, _)) = daemon.speaker.poll_timeout().filter(|(at, _)| *at <= NOW + Duration::from_secs(109)) {
        daemon.now = at;
        daemon.speaker.handle_timeout(at);
        for command in daemon.commands() {
            match command {
                KernelCommand::Dump { vni, .. } => listed.push((at.secs_since(NOW), vni)),
                KernelCommand::Check { token, .. } => daemon.kernel(KernelEvent::Checked { token, rows: Vec::new() }),
                _ => {}
            }
        }
    }
    assert_eq!(listed, [(100, vni())], "the tenth pass");
}

/// Whoever undid a row that leads to another host was told of as a local port, and an entry of the flood list as a row of no MAC.
#[test]
fn a_fight_is_told_of_in_the_words_of_the_row() {
    let (mut here, _, _) = Daemon::with_route();
    let rows = [KernelRow::new(MAC, to("10.0.0.2")), KernelRow::new(MacAddr::ZERO, to("10.0.0.2"))];
    for _ in 0..10 {
        while acknowledge(&mut here, 0) > 0 {}
        here.now = here.now + Duration::from_secs(5);
        here.speaker.handle_timeout(here.now);
        for row in rows {
            here.kernel(KernelEvent::RowGone { vni: vni(), row });
        }
    }
    let told: Vec<String> = std::iter::from_fn(|| here.speaker.poll_event()).map(|event| event.to_string()).collect();
    let fights: Vec<&String> = told.iter().filter(|line| line.contains("again and again")).collect();
    let by = "again and again by another program on this host: it is put right ever more rarely";
    assert_eq!(fights.len(), 2, "{told:#?}");
    assert!(
        fights[0].starts_with(&format!("VNI 100: the row of {MAC} to VTEP 10.0.0.2 is deleted or changed {by}")),
        "{fights:?}"
    );
    assert!(fights[1].starts_with(&format!("VNI 100: VTEP 10.0.0.2 is taken from the flood list {by}")), "{fights:?}");
}

/// On demand a MAC that had moved away from a port here was still remembered as that port's when its row had been taken back, unused:
/// when the other host withdrew it, it was announced as this host's, and nothing ever said that it was not here.
#[test]
fn a_mac_whose_row_sleeps_is_not_taken_for_the_ports_that_it_left() {
    let more = "[vni-defaults]\nflood = \"none\"\ninstall = \"on-demand\"\ninstall-lifetime = 10\n";
    let (mut here, mut there, [ours, theirs]) = Daemon::with_route_rows_and(Vec::new(), more);
    here.kernel(KernelEvent::Device(DeviceState::Ready(ReadyDevice { tells_misses: true, ..Daemon::device() })));
    while acknowledge(&mut here, 0) > 0 {}
    let mac = LocalMac { port: 4, port_name: "tap4".to_owned(), ..heard() };
    here.kernel(KernelEvent::LocalMac(mac.clone()));
    while acknowledge(&mut here, 0) > 0 {}
    exchange(&mut here, ours, &mut there, theirs);
    there.kernel(KernelEvent::LocalMac(LocalMac { port: 5, ..mac }));
    exchange(&mut here, ours, &mut there, theirs);
    assert!(acknowledge(&mut here, 0) > 0, "the bridge gives its port up");
    // Nobody uses the row: it is taken back.
    let mut slept = 0;
    let end = here.now + Duration::from_secs(15);
    while let Some((at, _)) = here.speaker.poll_timeout().filter(|(at, _)| *at <= end) {
        here.now = at.max(here.now);
        here.speaker.handle_timeout(here.now);
        for command in here.commands() {
            if let KernelCommand::Check { token, .. } = command {
                let row = Some(KernelRow::new(MAC, to("10.0.0.2")));
                let checked = CheckedRow { vni: vni(), mac: MAC, row, idle: Some(Duration::from_secs(10)) };
                here.kernel(KernelEvent::Checked { token, rows: vec![checked] });
                slept += acknowledge(&mut here, 0);
            }
        }
    }
    there.kernel(KernelEvent::LocalMacGone { vni: vni(), mac: MAC });
    exchange(&mut here, ours, &mut there, theirs);
    assert_eq!(slept, 1);
    assert_eq!(routes_of_macs(&mut here), [] as [String; 0]);
}

/// The type 2 routes that it has.
fn routes_of_macs(daemon: &mut Daemon) -> Vec<String> {
    let request = Request::ShowRoutes { route_type: Some(2), vni: None, rd: None, neighbor: None, after: None, limit: None };
    let Reply::Routes(routes) = daemon.ask(request) else { panic!("no routes") };
    routes.items.into_iter().map(|route| route.key).collect()
}

/// An address that this host lost, on a device without a bridge, while the daemon was away was announced for ever: it stood among the
/// neighbours that the earlier run had written.
#[test]
fn an_address_of_this_host_that_went_while_the_daemon_was_away_is_not_announced() {
    let mut daemon =
        Daemon::new("[[vni]]\nid = 100\nbridge = \"none\"\nflood = \"none\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n");
    let device = ReadyDevice { bridge_ifindex: 7, bridge: "none".to_owned(), made_bridge: false, ..Daemon::device() };
    daemon.kernel(KernelEvent::Device(DeviceState::Ready(device)));
    let [old, new] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
    daemon.kernel(KernelEvent::LocalMacs { vni: vni(), macs: vec![LocalMac { is_static: true, ..heard() }] });
    daemon.kernel(KernelEvent::LocalAddress { vni: vni(), mac: MAC, ip: new, router: None });
    for command in daemon.commands() {
        match command {
            KernelCommand::DumpNeighbors { token, vni } => {
                let binding = Some(Binding { mac: MAC, router: false });
                let neighbors = Ok(vec![KernelNeighbor { ip: old, binding, owner: NeighborOwner::Ours }]);
                daemon.kernel(KernelEvent::Neighbors { token, vni, neighbors });
            }
            KernelCommand::Dump { token, vni, .. } => daemon.kernel(KernelEvent::Rows { token, vni, rows: Ok(Vec::new()) }),
            _ => {}
        }
    }
    let routes = routes_of_macs(&mut daemon);
    let announced = |ip: IpAddr| routes.iter().any(|key| key.contains(&ip.to_string()));
    assert_eq!([announced(old), announced(new)], [false, true], "{routes:?}");
}
