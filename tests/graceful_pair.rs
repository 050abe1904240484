//! Whole daemons in virtual time that lose one another and come back: what stays in their tables and what goes, what they say
//! as they part, and when they say End-of-RIB. No kernel but the answers that a test gives by hand.
//! Read `src/session/graceful.rs`, then `src/speaker/graceful.rs` and `restart.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod device_support;
mod graceful_support;

use evpnd::control::{Reply, Request};
use evpnd::fib::{Binding, DeviceSpec, KernelCommand, KernelNeighbor, NeighborOwner};
use std::net::IpAddr;

use graceful_support::{World, address, mac, vni};

/// Two hypervisors behind a reflector that know one another's machine.
fn fabric(reflector: &str, hypervisors: &str) -> World {
    let mut world = World::new();
    world.reflector(254, reflector);
    world.hypervisor(1, 254, hypervisors);
    world.hypervisor(2, 254, hypervisors);
    world.pass(5);
    assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]));
    world.said.clear();
    world
}

#[test]
fn a_killed_hypervisor_is_stale_at_the_reflector_and_nobody_hears_of_it() {
    let mut world = fabric("", "");
    world.kill(1);
    let view = world.neighbor(254, 1).expect("a dynamic neighbor is remembered while its routes are");
    assert_eq!((view.state.as_str(), view.stale_routes, view.stale_secs), ("active", 2, Some(120)));
    assert!(view.graceful_restart.contains("it restarts: 2 stale"), "{}", view.graceful_restart);
    world.pass(100);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    world.start(1);
    world.pass(5);
    let view = world.neighbor(254, 1).unwrap();
    assert_eq!((view.state.as_str(), view.stale_routes, view.stale_secs), ("established", 0, None));
    assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]));
}

#[test]
fn a_hypervisor_that_does_not_come_back_goes_after_its_restart_time() {
    let mut world = fabric("", "[graceful-restart]\nrestart-time = 50\n");
    world.kill(1);
    world.pass(45);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    world.pass(10);
    assert_eq!(world.remote_macs(2), []);
    assert_eq!(world.swept(254), [(2, "it did not come back within its restart time".to_owned())]);
    assert!(world.neighbor(254, 1).is_none(), "a dynamic neighbor is forgotten with its routes");
}

/// What left while the daemon was down goes at its End-of-RIB, and not before: the bridge must have been looked at.
#[test]
fn end_of_rib_waits_for_the_bridge() {
    let mut world = fabric("", "");
    world.kill(1);
    let node = world.nodes.get_mut(&1).unwrap();
    (node.macs, node.deaf) = (vec![mac(11)], true);
    world.start(1);
    world.pass(20);
    let view = world.neighbor(254, 1).unwrap();
    assert_eq!((view.state.as_str(), view.end_of_rib, view.stale_routes), ("established", false, 2));
    assert_eq!(world.remote_macs(2), [mac(1)], "nothing goes before the kernel was asked");
    // The kernel answers at last.
    world.nodes.get_mut(&1).unwrap().deaf = false;
    let spec = DeviceSpec::new(vni(), address(1));
    world.kernel(1, KernelCommand::Devices(vec![spec]));
    world.pass(2);
    assert!(world.neighbor(254, 1).unwrap().end_of_rib);
    assert_eq!(world.remote_macs(2), [mac(11)]);
}

/// The addresses of its machines, too, are all said before End-of-RIB, or the others would forget them for a moment.
#[test]
fn end_of_rib_waits_for_the_addresses_that_an_earlier_run_had() {
    let mut world = fabric("", "");
    world.kill(1);
    let node = world.nodes.get_mut(&1).unwrap();
    let binding = Some(Binding { mac: mac(1), router: false });
    node.answers = vec![KernelNeighbor { ip: IpAddr::from([192, 0, 2, 1]), binding, owner: NeighborOwner::Ours }];
    node.asked = Some(Vec::new());
    world.start(1);
    world.pass(20);
    let view = world.neighbor(254, 1).unwrap();
    assert_eq!((view.state.as_str(), view.end_of_rib, view.routes_received), ("established", false, 2));
    let asked = world.nodes.get_mut(&1).unwrap().asked.take().unwrap();
    for token in asked {
        world.kernel(1, KernelCommand::DumpNeighbors { token, vni: vni() });
    }
    world.pass(2);
    let view = world.neighbor(254, 1).unwrap();
    assert_eq!((view.end_of_rib, view.routes_received), (true, 3), "the segment, the MAC, its address");
}

/// A kernel that never answers does not keep the fabric waiting for ever.
#[test]
fn end_of_rib_comes_after_the_restart_time_whatever_happens() {
    let mut world = fabric("", "");
    world.kill(1);
    world.nodes.get_mut(&1).unwrap().deaf = true;
    world.start(1);
    world.pass(115);
    assert!(!world.neighbor(254, 1).unwrap().end_of_rib);
    world.pass(10);
    assert!(world.neighbor(254, 1).unwrap().end_of_rib);
    assert_eq!(world.remote_macs(2), []);
}

/// The reflector's first client is back before the second: it must not hear End-of-RIB before the second has spoken.
#[test]
fn a_restarted_reflector_says_end_of_rib_when_its_clients_have() {
    let mut world = fabric("", "");
    world.pass(3);
    world.kill(254);
    assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]));
    // The second client is cut off for a while.
    let second = world.nodes.get_mut(&2).unwrap().speaker.take();
    world.start(254);
    world.pass(10);
    let view = world.neighbor(1, 254).unwrap();
    assert_eq!((view.state.as_str(), view.end_of_rib, view.stale_routes), ("established", false, 2));
    world.nodes.get_mut(&2).unwrap().speaker = second;
    world.pass(20);
    for host in [1, 2] {
        let view = world.neighbor(host, 254).unwrap();
        assert_eq!((view.end_of_rib, view.stale_routes, view.stale_secs), (true, 0, None), "host {host}");
    }
    assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]));
    assert_eq!(world.swept(1), [], "nothing was swept");
    // One that never comes back is waited for no longer than the restart time.
    world.kill(2);
    world.kill(254);
    world.start(254);
    world.pass(100);
    assert!(!world.neighbor(1, 254).unwrap().end_of_rib);
    world.pass(25);
    assert!(world.neighbor(1, 254).unwrap().end_of_rib);
    assert_eq!(world.remote_macs(1), []);
}

/// SIGTERM with the N bit: a NOTIFICATION, and the routes stay (RFC 8538).
#[test]
fn a_stop_leaves_the_routes_where_that_was_agreed_and_a_removal_does_not() {
    let mut world = fabric("", "");
    world.stop(1);
    assert_eq!(world.said, [(1, "cease: administrative reset (6/4) \"the daemon stops\"".to_owned())]);
    world.pass(10);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    world.start(1);
    world.pass(5);
    // Leaving for good: a hard reset, and all is forgotten at once.
    world.said.clear();
    world.ask_drain(1);
    world.pump();
    let hard = "cease: hard reset (6/9), cease: administrative shutdown (6/2) \"drained\"";
    assert_eq!(world.said.first(), Some(&(1, hard.to_owned())));
    assert_eq!(world.remote_macs(2), []);
    assert!(world.neighbor(254, 1).is_none_or(|view| view.stale_routes == 0));
}

#[test]
fn without_graceful_restart_a_stop_is_a_good_bye_and_a_loss_is_held() {
    let off = "[graceful-restart]\nenabled = false\nloss-hold-time = 30\n";
    let mut world = fabric(off, off);
    world.stop(1);
    assert_eq!(world.said, [(1, "cease: administrative shutdown (6/2) \"the daemon stops\"".to_owned())]);
    world.pass(1);
    assert_eq!(world.remote_macs(2), [], "administrative shutdown ends it at once");
    world.start(1);
    world.pass(5);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    world.kill(254);
    world.pass(25);
    assert_eq!(world.remote_macs(2), [mac(1)], "held");
    world.pass(10);
    assert_eq!(world.remote_macs(2), [], "and then gone");
    assert_eq!(world.swept(2), [(2, "it did not come back within loss-hold-time".to_owned())]);
}

#[test]
fn a_reflector_that_resets_a_session_by_hand_costs_no_route() {
    let mut world = fabric("", "");
    world.ask(254, Request::ClearNeighbor { address: address(1) });
    world.pump();
    assert_eq!(world.remote_macs(2), [mac(1)]);
    assert_eq!(world.said.first().map(|(from, _)| *from), Some(254));
    world.pass(10);
    assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]));
    assert_eq!(world.neighbor(254, 1).unwrap().stale_secs, None);
}

/// What a reload changes of a neighbor may need another session, and nobody went anywhere for that.
#[test]
fn a_reload_that_resets_a_session_changes_no_row() {
    let without = "[graceful-restart]\nenabled = false\n";
    let word = "cease: other configuration change (6/6)";
    let other = "[[neighbor]]\naddress = \"10.0.0.2\"\npassive = true\ndescription = \"no client\"\n";
    let cases = [
        ("hold time of a reflector's", "", 1, "connect-retry = 1", "connect-retry = 1\nhold-time = 30", 1),
        ("graceful restart itself", "", 1, "connect-retry = 1", "graceful-restart = false", 1),
        ("nothing was agreed on", without, 1, "connect-retry = 1", "hold-time = 30", 1),
        ("those of a range", "", 254, "[[neighbor]]", "[[neighbor]]\nhold-time = 30", 2),
        ("what it is to us", other, 254, "description", "route-reflector-client = true\ndescription", 1),
        ("another password, which both get", "", 1, "connect-retry = 1", "connect-retry = 1\npassword = \"new\"", 1),
    ];
    for (what, everywhere, who, from, to, sessions) in cases {
        let mut world = fabric(everywhere, if who == 1 { everywhere } else { "" });
        assert_eq!(world.deleted(), 0);
        world.reload(who, from, to);
        assert_eq!(world.said, vec![(who, word.to_owned()); sessions], "{what}");
        world.pass(400);
        assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![mac(2)], vec![mac(1)]), "{what}");
        assert_eq!(world.deleted(), 0, "{what}");
        assert_eq!(
            world.neighbor(1, 254).map(|view| (view.state, view.stale_routes)),
            Some(("established".to_owned(), 0)),
            "{what}"
        );
    }
}

/// A neighbor of another AS is another one, and one that is disabled is gone.
#[test]
fn a_reload_that_makes_it_another_neighbor_ends_it() {
    let hard = |why: &str| format!("cease: hard reset (6/9), cease: {why}");
    for (change, word) in [
        ("asn = 65001", hard("peer de-configured (6/3)")),
        ("enabled = false", hard("administrative shutdown (6/2) \"disabled\"")),
    ] {
        let mut world = fabric("", "");
        world.reload(1, "connect-retry = 1", change);
        assert_eq!(world.said.first(), Some(&(1, word)));
        assert_eq!((world.remote_macs(1), world.remote_macs(2)), (vec![], vec![]), "{change}");
    }
}

/// A neighbor that does not come back after a reload is no different from any that is lost.
#[test]
fn what_a_reload_kept_goes_in_time() {
    let mut world = fabric("", "");
    world.reload(1, "connect-retry = 1", "port = 1179\npassive = true");
    // The reflector lets in, and connects to nobody.
    world.pass(100);
    assert_eq!(world.remote_macs(1), [mac(2)]);
    world.pass(25);
    assert_eq!(world.remote_macs(1), []);
    assert_eq!(world.swept(1), [(2, "it did not come back within its restart time".to_owned())]);
}

/// `connect-retry` holds without another session.
#[test]
fn the_pause_between_attempts_is_the_one_of_the_file() {
    let mut world = fabric("", "");
    world.reload(1, "connect-retry = 1", "connect-retry = 60");
    assert_eq!(world.said, []);
    world.kill(254);
    world.pass(1);
    assert!(world.speaker(1).poll_timeout().is_some());
    world.start(254);
    world.pass(40);
    assert_ne!(world.neighbor(1, 254).unwrap().state, "established");
    world.pass(30);
    assert_eq!(world.neighbor(1, 254).unwrap().state, "established");
}

/// RFC 9494: after the restart time the routes stay as the last resort, at the reflector and, marked, at its clients.
#[test]
fn long_lived_routes_stay_for_their_time_and_go() {
    let long = "[graceful-restart]\nrestart-time = 20\nlong-lived-stale-time = 600\n";
    let mut world = fabric(long, long);
    world.kill(1);
    world.pass(30);
    let view = world.neighbor(254, 1).unwrap();
    assert!(view.graceful_restart.contains("long-lived 600 s; it is away for long: 2 stale"), "{}", view.graceful_restart);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    let filter =
        Request::ShowRoutes { route_type: Some(2), vni: None, rd: None, neighbor: Some(address(254)), after: None, limit: None };
    let Reply::Routes(page) = world.ask(2, filter.clone()) else { panic!() };
    assert!(page.items[0].other.contains(&"community 65535:6".to_owned()), "LLGR_STALE: {:?}", page.items[0].other);
    // It is back: the mark goes.
    world.start(1);
    world.pass(10);
    let Reply::Routes(page) = world.ask(2, filter) else { panic!() };
    assert_eq!((page.items.len(), page.items[0].other.len()), (1, 0));
    world.kill(1);
    world.pass(640);
    assert_eq!(world.remote_macs(2), []);
    let swept = world.swept(254);
    assert_eq!(swept.last().map(|(_, why)| why.as_str()), Some("it did not come back within the long-lived stale time"));
}

/// Restarts on the heels of one another: with the N bit what is stale stays (RFC 8538 §4.1), and time bounds it.
#[test]
fn consecutive_restarts_lose_nothing() {
    let mut world = fabric("", "");
    for _ in 0..5 {
        world.kill(1);
        world.nodes.get_mut(&1).unwrap().deaf = true;
        world.start(1);
        world.pass(3);
        assert_eq!(world.neighbor(254, 1).unwrap().state, "established");
    }
    assert_eq!(world.remote_macs(2), [mac(1)]);
    world.kill(1);
    world.nodes.get_mut(&1).unwrap().deaf = false;
    world.start(1);
    world.pass(5);
    assert_eq!(world.remote_macs(2), [mac(1)]);
    assert_eq!(world.neighbor(254, 1).unwrap().stale_routes, 0);
}
