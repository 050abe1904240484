//! libvirt as it is: the calls and documents in `documents/libvirt/` were taken from two libvirtd 9.0 with QEMU 7.2 (a start, a live
//! migration, a managed save, a restore, a crash, a restart of libvirtd, a stop, a network with ports), and are played again here.
//!
//! What the documents taught: at the destination of a live migration libvirt calls `started` while the guest is still running at the
//! source, before its memory is copied; and with `stopped` and `release` no interface has a `<target>` any more.

use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Guest, Host};
use crate::harness::rows::remote_macs;
use crate::harness::{ensure, stays_true, wait_until};

use super::migration::{Segment, Stage, migrate_with, tell};
use super::on_demand::{run, script};
use super::scenario::{ASN, Site, VNI};

/// One call of a hook: on which host, its words, and what stood on its standard input.
pub(super) struct Call<'a> {
    pub at: &'a str,
    pub words: Vec<&'a str>,
    pub document: &'a str,
}

/// The calls of a record, in order.
pub(super) fn calls(record: &str) -> Vec<Call<'_>> {
    let calls = record.split("==> ").skip(1).map(|call| {
        let (line, document) = call.split_once('\n').expect("a line with the words");
        let mut words = line.split(' ');
        // h1 is the source of the migration, h2 its destination.
        Call { at: words.next().expect("a host"), words: words.collect(), document }
    });
    calls.collect()
}

/// The document with another name of the tap, where it has one.
fn with_port(document: &str, port: &str) -> String {
    let mut pieces = document.split("<target dev='");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let (_, rest) = piece.split_once('\'').expect("a name in quotes");
        format!("{text}<target dev='{port}'{rest}")
    })
}

/// Makes a call on a host with the guest's own MAC, VNI and port; nothing may be printed, or complained of.
#[track_caller]
fn play(call: &Call<'_>, host: &Host, guest: &Guest) {
    let document = call.document.replace("52:54:00:6b:3c:58", &guest.mac()).replace("br300", &format!("br{VNI}"));
    let document = with_port(&document, &guest.port);
    let said = run(script(host, &format!("libvirt/{}", call.words[0]), &call.words[1..]), &document);
    assert!(said.code == Some(0) && said.out.is_empty() && said.err.is_empty(), "{:?}: {said:?}", call.words);
}

/// Plays the calls whose operation is one of these.
#[track_caller]
fn play_all(record: &str, operations: &[&str], host: &Host, guest: &Guest) {
    for call in calls(record).iter().filter(|call| operations.contains(&call.words[2])) {
        play(call, host, guest);
    }
}

const START: &str = include_str!("documents/libvirt/start");
const MIGRATE: &str = include_str!("documents/libvirt/migrate");
const SAVE: &str = include_str!("documents/libvirt/managed-save");
const RESTORE: &str = include_str!("documents/libvirt/restore");
const CRASH: &str = include_str!("documents/libvirt/crash");
const RECONNECT: &str = include_str!("documents/libvirt/reconnect");
const STOP: &str = include_str!("documents/libvirt/stop");

/// Two hypervisors whose VNIs libvirt brings, a third that has it in its file, our reflector.
fn with_daemons(act: impl FnOnce(&Site, [&Evpnd<'_>; 3])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let config = |host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "");
    let [a, b, c] = &site.hosts;
    let daemons = [Evpnd::start(a, &config(a)), Evpnd::start(b, &config(b)), Evpnd::start(c, &config(c).vni(VNI, ""))];
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    let [one, two, three] = &daemons;
    act(&site, [one, two, three]);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

fn expect_row(at: &Host, guest: &Guest, leads_to: Option<&Host>) {
    wait_until("the row of the guest on the third host", 20, || {
        let found = remote_macs(&at.namespace, &format!("vxlan{VNI}"))?;
        ensure(found.get(&guest.mac()).copied() == leads_to.map(Host::v4), || format!("{found:?}"))
    });
}

/// The guest keeps running at the source while its memory is copied: until it runs at the destination, every other host sends it to the
/// source, whatever libvirt calls there; then the row changes once.
#[test]
fn a_live_migration_is_one_change_and_not_before_the_guest_has_moved() {
    with_daemons(|site, _| {
        let [a, b, c] = &site.hosts;
        let (mut mover, mut watcher) = (site.fabric.guest(11), site.fabric.guest(31));
        play_all(START, &["prepare"], a, &mover);
        mover.attach(a, &format!("br{VNI}"));
        play_all(START, &["start", "started"], a, &mover);
        watcher.plug(c, VNI);
        expect_row(c, &mover, Some(a));
        watcher.expect_ping(&mover);
        let segment = Segment { fabric: &site.fabric, vni: VNI, bridge: "br100" };
        let (moved, outcome) = migrate_with(&segment, &mut mover, b, &watcher, c, |stage, guest| match stage {
            Stage::Coming => play_all(MIGRATE, &["migrate", "prepare"], b, guest),
            Stage::Copied => {
                play_all(MIGRATE, &["start", "started"], b, guest);
                stays_true("the guest is still at the source", 2, || {
                    let found = remote_macs(&c.namespace, &format!("vxlan{VNI}"))?;
                    ensure(found.get(&guest.mac()) == Some(&a.v4()), || format!("{found:?}"))
                });
            }
            Stage::Gone => play_all(MIGRATE, &["stopped", "release"], a, guest),
        });
        tell("by libvirt", &outcome);
        outcome.expect_smooth(b);
        watcher.expect_ping(&moved);
        wait_until("nothing is left at the source", 10, || ensure(!a.has_interface("br100"), || "br100 is there".to_owned()));
        c.expect_flood_list(VNI, &[b.v4()]);
        // A later start at the destination is a start: what a migration left behind is gone.
        play_all(STOP, &["stopped", "release"], b, &moved);
        expect_row(c, &moved, None);
    });
}

/// A migration that fails, because QEMU at the destination ends before it is done, leaves nothing there.
#[test]
fn a_failed_migration_leaves_the_guest_where_it_is() {
    with_daemons(|site, _| {
        let [a, b, c] = &site.hosts;
        let mut guest = site.fabric.guest(11);
        play_all(START, &["prepare"], a, &guest);
        guest.attach(a, &format!("br{VNI}"));
        play_all(START, &["start", "started"], a, &guest);
        expect_row(c, &guest, Some(a));
        for before in [&["migrate", "prepare", "start", "started"][..], &["migrate", "prepare"]] {
            play_all(MIGRATE, before, b, &guest);
            assert!(b.has_interface("br100"));
            play_all(CRASH, &["stopped", "release"], b, &guest);
            wait_until("nothing is left", 10, || ensure(!b.has_interface("br100"), || "br100 is there".to_owned()));
            expect_row(c, &guest, Some(a));
        }
    });
}

#[test]
fn a_guest_is_saved_restored_crashes_and_outlives_libvirtd() {
    with_daemons(|site, [first, ..]| {
        let [a, _, c] = &site.hosts;
        let mut guest = site.fabric.guest(11);
        let begin = |record: &str, guest: &mut Guest| {
            play_all(record, &["restore", "prepare"], a, guest);
            guest.attach(a, &format!("br{VNI}"));
            play_all(record, &["start", "started"], a, guest);
            expect_row(c, guest, Some(a));
        };
        let end = |record: &str, guest: &mut Guest| {
            guest.unplug();
            play_all(record, &["stopped", "release"], a, guest);
            expect_row(c, guest, None);
            wait_until("nothing is left", 10, || ensure(!a.has_interface("br100"), || "br100 is there".to_owned()));
        };
        begin(START, &mut guest);
        end(SAVE, &mut guest);
        begin(RESTORE, &mut guest);
        end(CRASH, &mut guest);
        begin(START, &mut guest);
        play_all(RECONNECT, &["reconnect"], a, &guest);
        assert_eq!(first.json(&["show", "vnis", "100"])[0]["callers"].as_array().map(Vec::len), Some(1));
        std::thread::sleep(Duration::from_millis(100));
        expect_row(c, &guest, Some(a));
        end(STOP, &mut guest);
    });
}

/// A guest on a network of libvirt: at `prepare` its document names no bridge yet, so that its port holds the VNI, which comes next.
#[test]
fn a_guest_on_a_network_of_libvirt() {
    with_daemons(|site, [first, ..]| {
        let [a, _, c] = &site.hosts;
        let mut guest = site.fabric.guest(11);
        let record = include_str!("documents/libvirt/network").replace("52:54:00:6b:3c:59", "52:54:00:6b:3c:58");
        let calls = calls(&record);
        for call in &calls {
            // Its tap is made between prepare and started.
            if call.words[..] == ["qemu", "web2", "start", "begin", "-"] {
                guest.attach(a, &format!("br{VNI}"));
            }
            if call.words[..3] == ["qemu", "web2", "stopped"] {
                expect_row(c, &guest, Some(a));
                assert_eq!(first.json(&["show", "vnis", "100"])[0]["callers"].as_array().map(Vec::len), Some(1));
                guest.unplug();
            }
            play(call, a, &guest);
        }
        expect_row(c, &guest, None);
        wait_until("nothing is left", 10, || ensure(!a.has_interface("br100"), || "br100 is there".to_owned()));
    });
}
