//! Local MACs: many at once, aged out, and heard while the daemon was not listening.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest};
use crate::harness::raw::plain_frame;
use crate::harness::rows::{self, mac, text};
use crate::harness::{ensure, wait_until};

use super::scenario::{ASN, Site, VNI};

/// Two of our hypervisors behind our reflector, a guest on the first, and what they do.
fn with_pair(act: impl FnOnce(&Site, &Evpnd<'_>, &Evpnd<'_>, &mut Guest)) {
    with_pair_and("", act);
}

/// The same with more lines in `[limits]` of the first.
fn with_pair_and(limits: &str, act: impl FnOnce(&Site, &Evpnd<'_>, &Evpnd<'_>, &mut Guest)) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let (first, second) = (Evpnd::start(a, &config(a).section("limits", limits)), Evpnd::start(b, &config(b)));
    let mut guest = site.fabric.guest(11);
    guest.plug(a, VNI);
    b.expect_remote_macs(VNI, &[(&guest, a.v4())]);
    act(&site, &first, &second, &mut guest);
    [&first, &second].into_iter().for_each(|daemon| daemon.expect_no_difference());
}

#[test]
fn two_thousand_macs_at_once_are_announced_and_withdrawn() {
    with_pair(|site, first, _, guest| {
        let [a, b, _] = &site.hosts;
        let mut wanted: BTreeMap<_, _> = (0..2000).map(|n| (text(mac(1, n)), a.v4())).collect();
        wanted.insert(guest.mac(), a.v4());
        guest.send((0..2000).map(|n| plain_frame(mac(1, n), [0xff; 6])).collect());
        b.expect_rows(VNI, &wanted);
        assert_eq!(first.status("/macs/local"), 2001);
        guest.unplug();
        b.expect_rows(VNI, &BTreeMap::new());
    });
}

#[test]
fn a_mac_that_ages_out_is_withdrawn() {
    with_pair(|site, _, _, guest| {
        let [a, b, _] = &site.hosts;
        // In hundredths of a second. The kernel keeps a MAC for this time, and looks as rarely.
        a.namespace.ip("link set br100 type bridge ageing_time 200");
        guest.send(vec![plain_frame(mac(2, 1), [0xff; 6])]);
        wait_until("it is announced", 10, || {
            let rows = rows::remote_macs(&b.namespace, "vxlan100")?;
            ensure(rows.contains_key(&text(mac(2, 1))), || format!("{rows:?}"))
        });
        // The guest itself has said an address, and answers.
        b.expect_remote_macs(VNI, &[(&*guest, a.v4())]);
    });
}

/// MACs of the host's own interfaces are not announced, neither the bridge's nor a port's.
#[test]
fn the_hosts_own_macs_are_not_announced() {
    with_pair(|site, first, _, guest| {
        let b = &site.hosts[1];
        let routes = first.json(&["show", "macs", "--vni", "100"]);
        let local: Vec<String> = routes
            .as_array()
            .into_iter()
            .flatten()
            .filter(|mac| mac["kind"] == "local")
            .map(|mac| mac["mac"].to_string())
            .collect();
        assert_eq!(local, [format!("\"{}\"", guest.mac())]);
        b.expect_remote_macs(VNI, &[(guest, site.hosts[0].v4())]);
    });
}

/// The kernel's events overflow while the daemon is stopped (SIGSTOP): afterwards it reads everything again (`ENOBUFS`),
/// learns what came meanwhile, and heals what was deleted meanwhile.
#[test]
fn lost_events_are_noticed_and_made_good() {
    with_pair(|site, first, second, guest| {
        let [a, b, _] = &site.hosts;
        let mut there = site.fabric.guest(21);
        there.plug(b, VNI);
        a.expect_remote_macs(VNI, &[(&there, b.v4())]);
        signal(first.id(), libc::SIGSTOP);
        // Noise on a bridge that is nobody's, more of it than any receive buffer holds.
        a.namespace.ip_batch(
            "link add name noise type bridge\nlink set noise up\nlink add port0 type veth peer name port1\nlink set port0 master noise up\n",
        );
        let (mut set, mut unset) = (String::new(), String::new());
        for n in 0..20_000 {
            let _ = writeln!(set, "fdb add {} dev port0 master static", text(mac(9, n)));
            let _ = writeln!(unset, "fdb del {} dev port0 master", text(mac(9, n)));
        }
        for _ in 0..10 {
            a.namespace.bridge_batch(&set);
            a.namespace.bridge_batch(&unset);
        }
        guest.send(vec![plain_frame(mac(3, 1), [0xff; 6])]);
        a.namespace.output("bridge", ["fdb", "del", &there.mac(), "dev", "vxlan100", "self"]);
        a.namespace.output("bridge", ["fdb", "del", &there.mac(), "dev", "vxlan100", "master"]);
        signal(first.id(), libc::SIGCONT);
        wait_until("the overflow is counted", 20, || {
            let lost = first.status("/overflows");
            ensure(lost > 0, || "0 overflows".to_owned())
        });
        a.expect_remote_macs(VNI, &[(&there, b.v4())]);
        b.expect_rows(VNI, &[(text(mac(3, 1)), a.v4()), (guest.mac(), a.v4())].into_iter().collect());
        assert_eq!(second.status("/overflows"), 0);
    });
}

/// Stopped (SIGSTOP) while 40,000 MACs come at its ports, others go and its rows are deleted; afterwards all is as it is.
fn stopped_for_forty_thousand(limits: &str, overflows: bool) {
    with_pair_and(limits, |site, first, _, guest| {
        let [a, b, _] = &site.hosts;
        let mut there = site.fabric.guest(21);
        there.plug(b, VNI);
        a.expect_remote_macs(VNI, &[(&there, b.v4())]);
        a.namespace.ip("link set br100 type bridge ageing_time 360000");
        guest.send((0..1000).map(|n| plain_frame(mac(7, n), [0xff; 6])).collect());
        wait_until("the first thousand", 60, || {
            let local = first.status("/macs/local");
            ensure(local == 1001, || format!("{local} local MACs"))
        });
        signal(first.id(), libc::SIGSTOP);
        for from in (0..40_000).step_by(500) {
            guest.send((from..from + 500).map(|n| plain_frame(mac(8, n), [0xff; 6])).collect());
        }
        let mut batch: String = (0..1000).map(|n| format!("fdb del {} dev vm11 master\n", text(mac(7, n)))).collect();
        for half in ["self", "master"] {
            let _ = writeln!(batch, "fdb del {} dev vxlan100 {half}", there.mac());
        }
        a.namespace.bridge_batch(&batch);
        let start = Instant::now();
        signal(first.id(), libc::SIGCONT);
        wait_until("40,000 MACs are announced", 120, || {
            let local = first.status("/macs/local");
            ensure(local == 40_001, || format!("{local} local MACs, {} overflows", first.status("/overflows")))
        });
        assert_eq!(first.status("/overflows") > 0, overflows, "{} overflows", first.status("/overflows"));
        a.expect_remote_macs(VNI, &[(&there, b.v4())]);
        wait_until("they are rows on the other host", 120, || {
            let rows = rows::remote_macs(&b.namespace, "vxlan100")?;
            ensure(rows.len() == 40_001, || format!("{} rows", rows.len()))
        });
        println!("40,000 of 40,000 MACs were rows at the other host {:.2?} after it went on", start.elapsed());
        let rows = rows::remote_macs(&b.namespace, "vxlan100").expect("whole rows");
        let missing = (0..40_000).map(|n| text(mac(8, n))).filter(|mac| rows.get(mac) != Some(&a.v4())).count();
        assert_eq!((missing, rows.contains_key(&text(mac(7, 1)))), (0, false));
    });
}

#[test]
fn forty_thousand_macs_that_come_while_it_is_stopped_are_all_announced() {
    stopped_for_forty_thousand("", false);
}

/// The same where next to nothing fits into the buffer of notifications.
#[test]
fn forty_thousand_macs_whose_notifications_are_lost_are_all_announced() {
    stopped_for_forty_thousand("event-buffer = 65536", true);
}

fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: a child of ours that was not waited for.
    unsafe { libc::kill(process as i32, signal) };
}
