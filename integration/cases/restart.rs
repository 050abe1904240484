//! Killed and started again with many rows and traffic: nothing that did not change is touched, nothing is lost, and what went
//! meanwhile goes.

use std::time::{Duration, Instant};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::raw::plain_frame;
use crate::harness::rows::{self, text};
use crate::harness::watch::{Pings, RowWatch};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI, state};

fn mac(number: u32) -> [u8; 6] {
    rows::mac(0x50, number)
}

fn config(site: &Site, host: &Host) -> Config {
    Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "")
}

/// Two hypervisors and a reflector, a guest at each, and one more at the second with `count` MACs whose rows stand on the first.
fn with_rows(count: u32, act: impl FnOnce(&Site, Evpnd<'_>, &Guest, &Guest, &mut Guest)) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let limits = "local-macs-per-vni = 200000\nlocal-macs-per-port = 200000\n";
    let (first, _second) = (Evpnd::start(a, &config(&site, a)), Evpnd::start(b, &config(&site, b).section("limits", limits)));
    let [mut here, mut there, mut crowd] = [11, 21, 22].map(|number| site.fabric.guest(number));
    here.plug(a, VNI);
    there.plug(b, VNI);
    crowd.plug(b, VNI);
    // Nothing ages meanwhile: a hundred thousand MACs cannot speak every five minutes on a slow machine.
    b.namespace.ip("link set br100 type bridge ageing_time 360000");
    for from in (0..count).step_by(5000) {
        let to = (from + 5000).min(count);
        crowd.send((from..to).map(|n| plain_frame(mac(n), [0xff; 6])).collect());
        // Two guests' rows more, and one member of the flood list.
        confirmed(&first, u64::from(to) + 3);
    }
    assert_eq!(rows::count(&a.namespace, "vxlan100"), count as usize + 2);
    here.expect_ping(&there);
    act(&site, first, &here, &there, &mut crowd);
}

/// Waits until so many rows are wanted, and all of them are known to stand.
fn confirmed(daemon: &Evpnd<'_>, rows: u64) {
    wait_until("the rows are confirmed", 120, || {
        let status = daemon.json(&["show", "status"]);
        let (wanted, in_sync) = (status["rows"]["wanted"].as_u64(), status["rows"]["in_sync"].as_u64());
        ensure(wanted == Some(rows) && in_sync == Some(rows), || format!("{} of {rows}", status["rows"]))
    });
}

/// Waits until the reflector has said all it has, after which a daemon that is back sweeps what was not confirmed.
fn told_all(site: &Site, daemon: &Evpnd<'_>) {
    wait_until("the reflector says End-of-RIB", 40, || {
        let neighbor = daemon.neighbor(site.middle.v4());
        ensure(neighbor["state"] == "established" && neighbor["end_of_rib"] == true, || neighbor.to_string())
    });
}

/// `end`s the daemon of the first host under traffic and starts it again: neither its rows nor those of the other host change,
/// no ping is lost.
fn restart(count: u32, end: impl FnOnce(Evpnd<'_>)) {
    with_rows(count, |site, first, here, there, _| {
        let [a, b, _] = &site.hosts;
        let devices = a.namespace.output("ip", ["-o", "link"]);
        let mut watches = [RowWatch::new(a, VNI), RowWatch::new(b, VNI)];
        let pings = [Pings::between(here, there, a), Pings::between(there, here, b)];
        end(first);
        std::thread::sleep(Duration::from_secs(1));
        let start = Instant::now();
        let first = Evpnd::start_again(a);
        confirmed(&first, u64::from(count) + 3);
        told_all(site, &first);
        println!("{count} rows: all confirmed {:.2?} after the start", start.elapsed());
        std::thread::sleep(Duration::from_secs(1));
        watches.iter_mut().for_each(|watch| watch.expect_none("a restart"));
        pings.into_iter().for_each(Pings::expect_no_loss);
        assert_eq!(first.status("/counters/fib_deleted") + first.status("/counters/fib_swept"), 0);
        assert_eq!(rows::count(&a.namespace, "vxlan100"), count as usize + 2);
        assert_eq!(a.namespace.output("ip", ["-o", "link"]), devices);
        first.expect_no_difference();
    });
}

#[test]
fn killed_with_ten_thousand_rows_nothing_is_touched_and_no_ping_is_lost() {
    restart(10_000, |first| drop(first));
}

#[test]
fn stopped_with_five_thousand_rows_nothing_is_touched_and_no_ping_is_lost() {
    restart(5_000, |first| assert!(first.stop().success(), "SIGTERM is a normal end"));
}

#[test]
fn killed_with_a_hundred_thousand_rows_nothing_is_touched_and_no_ping_is_lost() {
    restart(100_000, |first| drop(first));
}

/// What was withdrawn while it was dead goes after End-of-RIB, rows and a member of the flood list; everything else stays.
#[test]
fn what_went_while_it_was_dead_is_not_stranded() {
    with_rows(10_000, |site, first, here, there, crowd| {
        let [a, b, _] = &site.hosts;
        let mut watch = RowWatch::new(a, VNI);
        let pings = Pings::between(here, there, a);
        drop(first);
        crowd.unplug();
        // Of a host that is no more, with its flood entry.
        a.namespace
            .output("bridge", ["fdb", "append", rows::FLOOD, "dev", "vxlan100", "dst", "10.0.0.77", "self", "extern_learn"]);
        wait_until("the MACs are gone where they were", 60, || {
            let text = b.namespace.output("bridge", ["fdb", "show", "br", "br100"]);
            ensure(!text.contains("02:50:"), || "they are there".to_owned())
        });
        assert_eq!(rows::count(&a.namespace, "vxlan100"), 10_002, "its rows stand while it is dead");
        let start = Instant::now();
        let first = Evpnd::start_again(a);
        wait_until("the stranded rows go", 60, || {
            let rows = rows::count(&a.namespace, "vxlan100");
            ensure(rows == 1, || format!("{rows} rows"))
        });
        println!("10,001 stranded rows were gone {:.2?} after the start", start.elapsed());
        a.expect_flood_list(VNI, &[b.v4()]);
        // The row of the other guest, and its member of the flood list.
        confirmed(&first, 2);
        pings.expect_no_loss();
        let seen = watch.seen();
        // Both halves of 10,001 rows and one member of the flood list (kernels before 6.16 or so tell of each VXLAN half twice), and
        // its making above; nothing else.
        let (deleted, written, links) = (seen.deleted, seen.written, seen.links.len());
        assert!((2 * 10_001 + 1..=3 * 10_001 + 2).contains(&deleted), "{deleted} deletions");
        assert!(written <= 2 && links == 0, "{written} rows written, {links} changes of the device");
        assert!(!seen.macs.contains(&there.mac()), "the row of a guest that stayed was touched");
        first.expect_no_difference();
    });
}

/// A MAC that moved has a number, and a new life goes on from it: peers see a refresh (RFC 7432 §15).
#[test]
fn a_mac_that_moved_keeps_its_sequence_over_a_kill() {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let (first, second) = (Evpnd::start(a, &config(&site, a)), Evpnd::start(b, &config(&site, b)));
    let mut guests = [11, 21].map(|number| site.fabric.guest(number));
    guests[0].plug(a, VNI);
    guests[1].plug(b, VNI);
    let moving = text(mac(1));
    let sequence = |daemon: &Evpnd<'_>| daemon.mac(&moving)["sequence"].as_u64();
    // It is heard at the other host before the one that had it lets go.
    let speaks = |guest: usize, want: u64, first: &Evpnd<'_>| {
        guests[guest].send(vec![plain_frame(mac(1), [0xff; 6])]);
        wait_until("the move is known", 20, || {
            let both = (sequence(first), sequence(&second));
            ensure(both == (Some(want), Some(want)), || format!("{both:?}, not {want}"))
        });
    };
    for (guest, want) in [(0, 0), (1, 1), (0, 2)] {
        speaks(guest, want, &first);
    }
    wait_until("the number is kept", 10, || {
        let kept = std::fs::read_to_string(a.path("state/sequences.json")).unwrap_or_default();
        ensure(kept.contains(&moving), || kept)
    });
    drop(first);
    let first = Evpnd::start_again(a);
    wait_until("it is announced with the number it had", 20, || {
        let both = (sequence(&first), sequence(&second));
        ensure(both == (Some(2), Some(2)), || format!("{both:?}"))
    });
    assert_eq!(second.status("/counters/evpn_moves"), 2, "the other host saw no further move");
    // Told to stop within the second after which it writes, it writes at once.
    speaks(1, 3, &first);
    speaks(0, 4, &first);
    assert!(first.stop().success(), "SIGTERM is a normal end");
    let kept = std::fs::read_to_string(a.path("state/sequences.json")).expect("a file of its");
    assert!(kept.contains(&format!("{moving}\":4")), "{kept}");
    // A broken file is a warning and no more.
    std::fs::write(a.path("state/sequences.json"), "{\"layout\":\"1\",\"seq").expect("a file of ours");
    let first = Evpnd::start_again(a);
    wait_until("it is announced all the same", 20, || {
        let there = sequence(&second);
        ensure(there == Some(0), || format!("{there:?}"))
    });
    let log = first.log();
    assert!(log.contains("sequences.json is broken") && log.contains("set aside"), "{log}");
    [first, second].iter().for_each(Evpnd::expect_no_difference);
}

/// Members of a flood list share one mark. Killed and started again, ours go with their hosts and an operator's stay, whoever came to the
/// list first.
#[test]
fn members_of_a_flood_list_are_told_apart_over_a_kill() {
    for operator_first in [false, true] {
        let site = Site::new();
        let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
        let [a, b, _] = &site.hosts;
        let theirs = std::net::IpAddr::from([10, 0, 0, 77]);
        a.make_vxlan(VNI, a.v4());
        let append =
            || a.namespace.output("bridge", ["fdb", "append", rows::FLOOD, "dev", "vxlan100", "dst", "10.0.0.77", "self"]);
        if operator_first {
            append();
        }
        let audit = |host| config(&site, host).section("vxlan", "audit-interval = 1\n");
        let (first, second) = (Evpnd::start(a, &audit(a)), Evpnd::start(b, &audit(b)));
        wait_until("the list has the other host", 20, || {
            let list = rows::flood_list(&a.namespace, "vxlan100");
            ensure(list.contains(&b.v4()), || format!("{list:?}"))
        });
        if !operator_first {
            append();
        }
        wait_until("both are kept, each as whose it is", 30, || {
            let kept = state(a);
            let wanted = serde_json::json!({"ours": ["10.0.0.2"], "theirs": ["10.0.0.77"]});
            ensure(kept["floods"]["100"] == wanted, || kept.to_string())
        });
        drop(first);
        let first = Evpnd::start_again(a);
        told_all(&site, &first);
        a.expect_flood_list(VNI, &[b.v4(), theirs]);
        second.say(&["drain"]);
        a.expect_flood_list(VNI, &[theirs]);
        // And no audit takes it.
        std::thread::sleep(Duration::from_secs(3));
        a.expect_flood_list(VNI, &[theirs]);
    }
}
