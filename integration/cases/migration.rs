//! A machine that moves while somebody talks to it, and one that is at two hosts at once: what a third hypervisor's kernel
//! sees of it, and how long frames go astray.
//!
//! [`migrate`] is the script: it knows no daemon, so that the same can be run beside others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};
use crate::harness::raw::{self, PacketSocket};
use crate::harness::{ensure, rows, stays_true, wait_until};

use super::scenario::{ASN, Site, VNI};

/// What a migration looked like from a third hypervisor.
#[derive(Debug)]
pub struct Outcome {
    /// Where the kernel's row for the machine pointed, one entry a change; `gone` where it was deleted.
    pub changes: Vec<String>,
    /// Netlink events about the machine's MAC on the VXLAN device, echoes included.
    pub events: usize,
    /// The longest time in which no frame reached the machine.
    pub gap: Duration,
    /// The longest time in which none was sent: what of the gap is this machine's own load.
    pub pause: Duration,
    /// Frames that the machine said to all, and of them heard by the watcher.
    pub said: (usize, usize),
    /// Frames that came more than once: for the machine to both of its places, or of the machine to the watcher.
    pub twice: usize,
}

impl Outcome {
    /// The row changed once, straight to `to`; nothing came twice; and frames went astray for no longer than the fabric needs, many
    /// times over (some 20 ms are usual), beside what this machine's load cost.
    #[track_caller]
    pub fn expect_smooth(&self, to: &Host) {
        assert_eq!(self.changes, [to.v4().to_string()], "{self:?}");
        assert_eq!(self.twice, 0, "{self:?}");
        assert!(self.said.1 > 20, "who hears nothing hears nothing twice: {self:?}");
        assert!(self.gap < crate::harness::patience(1) / 2 + self.pause, "{self:?}");
    }
}

/// Where a migration happens.
#[derive(Debug)]
pub struct Segment<'a> {
    pub fabric: &'a Fabric,
    pub vni: u32,
    /// Its bridge on the host to which the machine moves.
    pub bridge: &'a str,
}

/// Where a migration is, for what is done beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The destination has heard of it; there is no port for it yet.
    Coming,
    /// Its port stands at the destination; it runs at the source, and its memory is copied.
    Copied,
    /// It runs at the destination, and its old port is gone.
    Gone,
}

/// Moves `mover` to `to` as a live migration does: the new machine stands silent, the old one falls silent, the new one
/// speaks, and the old port goes later. `watcher` on `third` sends it a frame every millisecond meanwhile, and it says one to all
/// every few.
pub fn migrate(fabric: &Fabric, mover: &mut Guest, to: &Host, watcher: &Guest, third: &Host) -> (Guest, Outcome) {
    let segment = Segment { fabric, vni: VNI, bridge: &format!("br{VNI}") };
    migrate_with(&segment, mover, to, watcher, third, |_, _| {})
}

/// The same, with what a platform does beside it.
pub fn migrate_with(
    segment: &Segment<'_>,
    mover: &mut Guest,
    to: &Host,
    watcher: &Guest,
    third: &Host,
    beside: impl Fn(Stage, &Guest),
) -> (Guest, Outcome) {
    let mac = mover.mac();
    let mut moved = segment.fabric.twin(mover);
    beside(Stage::Coming, &moved);
    moved.attach(to, segment.bridge);
    let monitor = third.namespace.spawn("bridge", ["monitor", "fdb"], &third.path(&format!("to-{}.log", moved.port)));
    let target = [2, 0, 0, 0, 0, mover.number];
    let stop = Arc::new(AtomicBool::new(false));
    let open = |guest: &Guest| raw::in_namespace(guest.namespace.name(), || PacketSocket::open("eth0")).expect("a packet socket");
    let sender = {
        let (stop, socket, from) = (stop.clone(), open(watcher), [2, 0, 0, 0, 0, watcher.number]);
        std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            let (mut heard, mut round) = (BTreeMap::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                socket.send(&numbered(from, target, round)).expect("a guest that is plugged in");
                round += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                note(&socket, [0xff; 6], &mut heard);
                std::thread::sleep(Duration::from_millis(1));
            }
            // What is under way.
            std::thread::sleep(Duration::from_millis(200));
            note(&socket, [0xff; 6], &mut heard);
            (longest, heard)
        })
    };
    let switched = Arc::new(Mutex::new(false));
    let receiver = {
        let machine = Machine { old: open(mover), new: open(&moved), mac: target, switched: switched.clone() };
        let stop = stop.clone();
        std::thread::spawn(move || machine.live(&stop))
    };
    std::thread::sleep(Duration::from_secs(1));
    beside(Stage::Copied, &moved);
    // Its link is up: what is measured is the fabric.
    let (voice, arrival) = (open(&moved), raw::gratuitous_arp(target, mover.address().octets()));
    *switched.lock().unwrap_or_else(PoisonError::into_inner) = true;
    voice.send(&arrival).expect("a guest that is plugged in");
    wait_until("the row on the third host leads to the new one", 20, || {
        let found = rows::remote_macs(&third.namespace, &format!("vxlan{}", segment.vni))?;
        ensure(found.get(&mac) == Some(&to.v4()), || format!("{found:?}"))
    });
    std::thread::sleep(Duration::from_millis(500));
    mover.unplug();
    beside(Stage::Gone, mover);
    std::thread::sleep(Duration::from_secs(2));
    stop.store(true, Ordering::Relaxed);
    let (pause, heard) = sender.join().expect("the sender");
    let (gap, arrived, said) = receiver.join().expect("the receiver");
    let twice = heard.values().chain(arrived.values()).filter(|copies| **copies > 1).count();
    let text = monitor.log();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&mac) && line.contains("vxlan")).collect();
    let mut changes: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let leads_to = line.split_whitespace().skip_while(|word| *word != "dst").nth(1).map(str::to_owned);
            if line.contains("Deleted") { Some("gone".to_owned()) } else { leads_to }
        })
        .collect();
    changes.dedup();
    (moved, Outcome { changes, events: lines.len(), gap, pause, said: (said, heard.len()), twice })
}

/// A frame with a number in it.
fn numbered(from: [u8; 6], to: [u8; 6], round: u32) -> Vec<u8> {
    let mut frame = raw::plain_frame(from, to);
    frame[14..18].copy_from_slice(&round.to_be_bytes());
    frame
}

/// Takes out what waits: how often each numbered frame for `target` came, by its number. Whether any did.
fn note(socket: &PacketSocket, target: [u8; 6], copies: &mut BTreeMap<u32, usize>) -> bool {
    let (mut buffer, mut any) = ([0; 2048], false);
    while let Ok(Some((len, sent))) = socket.try_receive(&mut buffer) {
        if !sent && len >= 18 && buffer[..6] == target && buffer[12..14] == [0x88, 0xb5] {
            let round = u32::from_be_bytes([buffer[14], buffer[15], buffer[16], buffer[17]]);
            *copies.entry(round).or_default() += 1;
            any = true;
        }
    }
    any
}

/// The machine at its two places.
struct Machine {
    old: PacketSocket,
    new: PacketSocket,
    mac: [u8; 6],
    /// It runs at the new one. Who speaks for it has the lock: the old one says nothing after that.
    switched: Arc<Mutex<bool>>,
}

impl Machine {
    /// The longest time between two frames for it (at the old place until the switch, at the new one from then on), how often each frame
    /// came to the two, and how many it said.
    fn live(&self, stop: &AtomicBool) -> (Duration, BTreeMap<u32, usize>, usize) {
        let (mut copies, mut said) = (BTreeMap::new(), 0);
        // Both frames are waited for before the clock runs.
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        while !note(&self.old, self.mac, &mut copies) && !stop.load(Ordering::Relaxed) {
            last = Instant::now();
        }
        let mut word = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let (at_old, at_new) = (note(&self.old, self.mac, &mut copies), note(&self.new, self.mac, &mut copies));
            let switched = self.switched.lock().unwrap_or_else(PoisonError::into_inner);
            if at_new || at_old && !*switched {
                let now = Instant::now();
                longest = longest.max(now - last);
                last = now;
            }
            if word.elapsed() > Duration::from_millis(10) {
                let place = if *switched { &self.new } else { &self.old };
                said += usize::from(place.send(&numbered(self.mac, [0xff; 6], said as u32)).is_ok());
                word = Instant::now();
            }
            drop(switched);
            std::thread::sleep(Duration::from_micros(200));
        }
        (longest.max(last.elapsed().saturating_sub(Duration::from_millis(100))), copies, said)
    }
}

fn with_daemons(more: &str, act: impl FnOnce(&Site, &[Evpnd<'_>; 3])) {
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hosts.each_ref().map(|host| {
        let config = Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
        Evpnd::start(host, &config.section("duplicate-detection", more))
    });
    daemons.iter().for_each(|daemon| daemon.expect_established(site.middle.v4()));
    act(&site, &daemons);
    daemons.iter().for_each(Evpnd::expect_no_difference);
}

/// The row on every other hypervisor changes once, straight to the new host.
#[test]
fn a_live_migration_is_one_change_on_every_other_hypervisor() {
    with_daemons("", |site, _| {
        let [a, b, c] = &site.hosts;
        let [mut mover, idle, watcher] = site.guests();
        c.expect_remote_macs(VNI, &[(&mover, a.v4()), (&idle, b.v4())]);
        watcher.expect_ping(&mover);
        let (moved, there) = migrate(&site.fabric, &mut mover, b, &watcher, c);
        tell("there", &there);
        there.expect_smooth(b);
        let mut moved = moved;
        let (back, again) = migrate(&site.fabric, &mut moved, a, &watcher, c);
        tell("and back", &again);
        again.expect_smooth(a);
        watcher.expect_ping(&back);
    });
}

/// The old port goes before the machine has spoken at its new place: the row goes with it, so that frames are flooded and reach the
/// machine there. A row that was held for the announcement would lead to a host without it (docs/decisions/0005).
#[test]
fn a_silent_machine_is_reached_at_its_new_place_once_its_old_port_is_gone() {
    with_daemons("", |site, _| {
        let [a, b, c] = &site.hosts;
        let [mut mover, idle, watcher] = site.guests();
        c.expect_remote_macs(VNI, &[(&mover, a.v4()), (&idle, b.v4())]);
        let mut moved = site.fabric.twin(&mover);
        moved.attach(b, &format!("br{VNI}"));
        let target = [2, 0, 0, 0, 0, mover.number];
        let there = raw::in_namespace(moved.namespace.name(), || PacketSocket::open("eth0")).expect("a packet socket");
        let frame = || raw::plain_frame([2, 0, 0, 0, 0, watcher.number], target);
        let gone = Instant::now();
        mover.unplug();
        wait_until("a frame reaches it before it has said a word", 20, || {
            watcher.send(vec![frame()]);
            let mut buffer = [0; 2048];
            while let Ok(Some((len, sent))) = there.try_receive(&mut buffer) {
                assert!(!sent, "it spoke");
                if len >= 14 && buffer[..6] == target {
                    return Ok(());
                }
            }
            Err("none came".to_owned())
        });
        println!("a silent machine was reached {:.1?} after its old port began to go", gone.elapsed());
        c.expect_remote_macs(VNI, &[(&idle, b.v4())]);
        moved.speak();
        c.expect_remote_macs(VNI, &[(&moved, b.v4()), (&idle, b.v4())]);
        watcher.expect_ping(&moved);
    });
}

/// The figures of a migration, for whoever compares.
pub fn tell(which: &str, outcome: &Outcome) {
    let Outcome { changes, events, gap, pause, said, twice } = outcome;
    let [gap, pause] = [gap, pause].map(|time| time.as_secs_f64() * 1000.0);
    println!(
        "migration {which}: {events} netlink events, changes {changes:?}, longest gap {gap:.1} ms (sender paused {pause:.1} ms), {} of \
         {} broadcasts heard, {twice} frames twice",
        said.1, said.0
    );
}

/// RFC 7432 §15.1: two machines with one MAC. It is found, stays at one of them for the whole fabric, and an operator ends it.
#[test]
fn a_duplicate_is_frozen_at_one_host_until_the_operator_clears_it() {
    with_daemons("moves = 3\nseconds = 600\naction = \"freeze\"\nrecovery-seconds = 0", |site, daemons| {
        let [a, b, c] = &site.hosts;
        let [one, idle, _watcher] = site.guests();
        c.expect_remote_macs(VNI, &[(&one, a.v4()), (&idle, b.v4())]);
        let mut clone = site.fabric.twin(&one);
        clone.attach(b, &format!("br{VNI}"));
        let duplicates = |daemon: &Evpnd<'_>| daemon.json(&["show", "macs", "--duplicates"]).as_array().map_or(0, Vec::len);
        wait_until("one of the two hosts finds the duplicate", 60, || {
            clone.speak();
            std::thread::sleep(Duration::from_millis(300));
            one.speak();
            std::thread::sleep(Duration::from_millis(300));
            ensure(duplicates(&daemons[0]) + duplicates(&daemons[1]) > 0, || "none".to_owned())
        });
        assert_eq!(duplicates(&daemons[2]), 0, "a host that does not hear it follows");
        let at = if duplicates(&daemons[0]) > 0 { 0 } else { 1 };
        let shown = daemons[at].json(&["show", "macs", "--duplicates"]);
        assert_eq!((&shown[0]["mac"], &shown[0]["duplicate"]), (&one.mac().into(), &"frozen".into()));
        let place =
            || rows::remote_macs(&c.namespace, &format!("vxlan{VNI}")).ok().and_then(|rows| rows.get(&one.mac()).copied());
        std::thread::sleep(Duration::from_secs(1));
        let before = place();
        stays_true("frozen, it moves no more for the third host", 3, || {
            clone.speak();
            one.speak();
            ensure(place() == before, || format!("{before:?} became {:?}", place()))
        });
        let mac = one.mac();
        let missing = daemons[at].control(&["clear", "duplicate", "vni", "100", "mac", "02:00:00:00:00:99"]);
        assert_eq!(missing.status.code(), Some(1), "{missing:?}");
        daemons[at].say(&["clear", "duplicate", "vni", "100", "mac", &mac]);
        assert_eq!(daemons[at].control(&["clear", "duplicate", "vni", "100", "mac", &mac]).status.code(), Some(1));
        for daemon in daemons {
            daemon.say(&["clear", "duplicate"]);
        }
        clone.unplug();
        wait_until("the machine that is left is found again", 20, || {
            one.speak();
            let found = rows::remote_macs(&c.namespace, &format!("vxlan{VNI}"))?;
            ensure(found.get(&mac) == Some(&a.v4()), || format!("{found:?}"))
        });
    });
}
