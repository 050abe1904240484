//! A peer written to break every rule, against a hypervisor that knows it as a neighbor and a reflector that lets it in through a
//! range. Meanwhile nothing happens to the others: no session goes, no row of a guest is touched, frames pass, the control socket
//! answers, and the memory stays within a bound. `tests/hostile.rs` has the same in virtual time, rule by rule.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evpnd::base::Random;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Family, Host};
use crate::harness::hostile::{Hostile, announce, keepalive, message, open};
use crate::harness::netns::Process;
use crate::harness::{ensure, patience, wait_until};

use super::scenario::{ASN, Site, VNI};

/// The peak of resident memory that no daemon may pass, in KiB: with a million routes of the hostile peer, which the reflector takes
/// and passes on to the others, and 8 MiB of attributes.
const MEMORY_KIB: u64 = 320 * 1024;
/// The longest that the control socket may take to answer at any time, in seconds.
const ANSWER_SECS: u64 = 5;

const LIMITS: &str =
    "[limits]\nroutes-per-neighbor = 1000000\nattribute-octets-per-neighbor = 8388608\ncontrol-connections = 8\n";
/// The `max-routes` of the hypervisor that knows it as a neighbor.
const FEW_ROUTES: u32 = 100_000;
/// Routes in one long message.
const ROUTES: u32 = 1700;

/// What is attacked.
struct Victim<'a> {
    daemon: &'a Evpnd<'a>,
    server: SocketAddr,
    attacker: &'a Host,
    max_routes: u32,
}

impl Victim<'_> {
    /// The operator lets the attacker in again, in time.
    fn forgive(&self) {
        let begun = Instant::now();
        self.daemon.control(&["clear", "neighbor", &self.attacker.v4().to_string()]);
        self.daemon.json(&["show", "status"]);
        assert!(begun.elapsed() < patience(ANSWER_SECS), "the control socket took {:?}", begun.elapsed());
    }

    fn established(&self, extended: bool) -> Hostile {
        wait_until("the hostile peer gets a session", 10, || {
            self.forgive();
            Hostile::established(self.attacker, self.server, extended).map_err(|error| error.to_string())
        })
    }

    fn counter(&self, name: &str) -> u64 {
        self.daemon.json(&["show", "status"])["counters"][name].as_u64().unwrap_or(0)
    }

    /// Headers that lie, one session each: what they claim, and the NOTIFICATION that must come.
    fn headers(&self) {
        let mut bad_marker = keepalive();
        bad_marker[3] = 0;
        let of_len = |kind: u8, len: u16| [&[0xff; 16][..], &len.to_be_bytes(), &[kind]].concat();
        let attempts = [
            (bad_marker, (1, 1)),
            (of_len(4, 0), (1, 2)),
            (of_len(4, 20), (1, 2)),
            (of_len(2, 22), (1, 2)),
            (of_len(2, 65_535), (1, 2)),
            (of_len(0, 19), (1, 3)),
            (of_len(200, 19), (1, 3)),
            (open(66, false), (5, 3)),
            (message(2, &[0, 0, 0, 9, 0x80, 14, 6, 0, 25, 70, 200, 1, 2]), (3, 9)),
            (message(2, &[0, 0, 0, 14, 0x80, 14, 11, 0, 25, 70, 4, 10, 0, 0, 66, 0, 2, 33]), (3, 10)),
        ];
        for (octets, wanted) in attempts {
            let mut hostile = self.established(false);
            let _ = hostile.say(&octets);
            assert!(hostile.is_closed_within(10), "{octets:02x?}");
            // A reset may overtake what it was to say.
            assert!(hostile.notification().is_none_or(|told| told == wanted), "{octets:02x?}: {:?}", hostile.notification());
        }
    }

    /// Messages where none is due.
    fn wrong_order(&self) {
        let update = announce(0, 1, Vec::new());
        for octets in [update.clone(), keepalive(), [open(66, true), open(66, true)].concat(), [open(66, true), update].concat()]
        {
            self.forgive();
            let Ok(mut hostile) = Hostile::connect(self.attacker, self.server) else { continue };
            let _ = hostile.say(&octets);
            assert!(hostile.is_closed_within(10));
        }
    }

    fn floods(&self) {
        let mut hostile = self.established(true);
        for _ in 0..40 {
            if hostile.say(&keepalive().repeat(1000)).is_err() {
                break;
            }
            hostile.listen();
        }
        // Refreshes without end, and it never reads: its own connection fills up, and nothing else does.
        let _ = hostile.say(&message(5, &[0, 25, 0, 70]).repeat(20_000));
        // Connections that never speak: the newest takes the place of the one before.
        let silent: Vec<_> = (0..100).filter_map(|_| Hostile::connect(self.attacker, self.server).ok()).collect();
        drop(silent);
    }

    fn long_messages(&self) {
        let long = announce(0, ROUTES, Vec::new());
        assert!(long.len() > 50_000);
        let mut hostile = self.established(true);
        hostile.say(&long).expect("a session that takes long messages");
        assert!(!hostile.is_closed_within(1));
        drop(hostile);
        let mut hostile = self.established(false);
        let _ = hostile.say(&long);
        assert!(hostile.is_closed_within(10));
    }

    /// Routes without end: closed at the limit.
    fn routes(&self) {
        let before = self.counter("speaker_max_routes_exceeded");
        let mut hostile = self.established(true);
        for n in 0..self.max_routes / ROUTES + 2 {
            if hostile.say(&announce(n * ROUTES, (n + 1) * ROUTES, Vec::new())).is_err() {
                break;
            }
        }
        assert!(hostile.is_closed_within(60));
        wait_until("the limit of routes is counted", 20, || {
            let after = self.counter("speaker_max_routes_exceeded");
            ensure(after == before + 1, || format!("{before} → {after}"))
        });
    }

    /// Attributes that are never the same.
    fn attributes(&self) {
        let mut hostile = self.established(true);
        for n in 0..6000 {
            if hostile.say(&announce(n, n + 1, (0..900).map(|c| n * 1000 + c).collect())).is_err() {
                break;
            }
        }
        assert!(hostile.is_closed_within(20));
        assert!(self.counter("speaker_attribute_octets_exceeded") >= 1);
    }

    /// Up and down.
    fn flaps(&self) {
        self.forgive();
        let came_up = (0..200).filter(|_| Hostile::established(self.attacker, self.server, true).is_ok()).count();
        assert!(came_up < 30, "{came_up} of 200: after ten it is left alone for a while");
        assert!(self.counter("speaker_neighbors_flapping") >= 1);
    }

    /// Real messages with octets changed.
    fn mutations(&self, seed: u64) {
        let text = concat!(include_str!("../../tests/vectors/frr.hex"), include_str!("../../tests/vectors/gobgp.hex"));
        let vectors: Vec<Vec<u8>> = text
            .lines()
            // OPENs only end the session.
            .filter_map(|line| line.strip_prefix("2 "))
            .map(|digits| {
                let pairs = digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
                pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
            })
            .collect();
        let mut random = Random::new(seed);
        let mut hostile = self.established(true);
        for _ in 0..400 {
            let mut octets = vectors[random.below(vectors.len() as u64) as usize].clone();
            for _ in 0..=random.below(3) {
                // Behind the header, which has its own test.
                let place = 19 + random.below(octets.len() as u64 - 19) as usize;
                octets[place] = random.next_u64() as u8;
            }
            if hostile.say(&octets).is_err() {
                hostile = self.established(true);
            }
        }
    }

    fn attack(&self, seed: u64) {
        self.headers();
        self.wrong_order();
        self.floods();
        self.long_messages();
        self.mutations(seed);
        self.routes();
        self.attributes();
        self.flaps();
    }
}

/// `bridge monitor fdb` on a host, from when it listens.
fn watch(host: &Host) -> Process {
    let watch = host.namespace.spawn("bridge", ["monitor", "fdb"], &host.path("fdb.log"));
    wait_until("bridge monitor listens", 10, || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", watch.id())).map_err(|error| error.to_string())?;
        let mut targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        ensure(targets.any(|target| target.to_string_lossy().starts_with("socket:")), || "no socket yet".to_owned())
    });
    watch
}

fn peak_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process that runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak of memory");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

#[test]
fn a_peer_that_breaks_every_rule_harms_nobody() {
    let site = Site::new();
    let attacker = site.fabric.host(66);
    let slow = site.fabric.host(67);
    let reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN).text_after(LIMITS));
    let [a, b, c] = &site.hosts;
    let hypervisor = |host: &Host| Config::hypervisor(host, ASN, Family::V4).neighbor(site.middle.v4(), "").vni(VNI, "");
    let first = Evpnd::start(
        a,
        &hypervisor(a).neighbor(attacker.v4(), &format!("passive = true\nmax-routes = {FEW_ROUTES}\n")).text_after(LIMITS),
    );
    let others = [Evpnd::start(b, &hypervisor(b)), Evpnd::start(c, &hypervisor(c))];
    let guests = site.guests();
    let [va, vb, vc] = [a, b, c].map(Host::v4);
    a.expect_remote_macs(VNI, &[(&guests[1], vb), (&guests[2], vc)]);
    b.expect_remote_macs(VNI, &[(&guests[0], va), (&guests[2], vc)]);
    c.expect_remote_macs(VNI, &[(&guests[0], va), (&guests[1], vb)]);
    guests[0].expect_ping(&guests[1]);
    let watches = [a, b, c].map(watch);

    let over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        // One octet of an OPEN every now and then, to the reflector, all the time; and a request like that to its socket.
        let slow_writer = scope.spawn(|| {
            let mut hostile = Hostile::connect(&slow, SocketAddr::new(site.middle.v4(), 179)).expect("a connection");
            let mut request = UnixStream::connect(site.middle.path("evpnd.sock")).expect("the control socket");
            let octets = open(67, true);
            for octet in octets.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let _ = hostile.say(&[*octet]);
                let _ = std::io::Write::write_all(&mut request, b" ");
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let both = [(&reflector, site.middle.v4(), 1_000_000, 1), (&first, a.v4(), FEW_ROUTES, 2)];
        let attacks = both.map(|(daemon, address, max_routes, seed)| {
            let victim = Victim { daemon, server: SocketAddr::new(address, 179), attacker: &attacker, max_routes };
            scope.spawn(move || victim.attack(seed))
        });
        // Whatever becomes of the attacks, the slow one is told to end.
        let outcomes = attacks.map(std::thread::ScopedJoinHandle::join);
        over.store(true, Ordering::Relaxed);
        let _ = slow_writer.join();
        for outcome in outcomes {
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("attacked for {:.1} s", begun.elapsed().as_secs_f64());

    for (host, daemon) in [(b, &others[0]), (c, &others[1]), (a, &first)] {
        let neighbor = reflector.neighbor(host.v4());
        assert_eq!((&neighbor["state"], &neighbor["established_count"]), (&"established".into(), &1.into()), "{neighbor}");
        let middle = daemon.neighbor(site.middle.v4());
        assert_eq!((&middle["state"], &middle["dropped_count"]), (&"established".into(), &0.into()), "{middle}");
        daemon.expect_no_difference();
    }
    guests[0].expect_ping(&guests[1]);
    guests[1].expect_ping(&guests[2]);
    for watch in &watches {
        let log = watch.log();
        let touched: Vec<&str> = log.lines().filter(|line| guests.iter().any(|guest| line.contains(&guest.mac()))).collect();
        let rows: Vec<&&str> = touched.iter().filter(|line| line.contains("dev vxlan")).collect();
        assert_eq!(rows.len(), 0, "rows of guests were touched: {rows:?}");
    }
    for daemon in [&reflector, &first, &others[0], &others[1]] {
        let peak = peak_kib(daemon.id());
        println!("peak memory {peak} KiB");
        assert!(peak < MEMORY_KIB, "{peak} KiB");
    }
}

/// Clients of the control socket beyond the limit are told so, and one that asks for too much is refused; the operator gets in.
#[test]
fn clients_of_the_control_socket_cannot_lock_it() {
    use std::io::{BufRead, BufReader, Write};
    let site = Site::new();
    let reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN).text_after(LIMITS));
    let path = site.middle.path("evpnd.sock");
    let connect = || UnixStream::connect(&path).expect("the control socket");
    let line = |stream: &UnixStream| {
        stream.set_read_timeout(Some(patience(10))).expect("a timeout");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        line
    };
    let mut long = connect();
    let _ = long.write_all(&[b' '; 70_000]);
    assert!(line(&long).contains("at most 65536 octets"));
    drop(long);
    let idle: Vec<UnixStream> = (0..8).map(|_| connect()).collect();
    wait_until("the ninth is told why", 10, || {
        let ninth = connect();
        let words = line(&ninth);
        ensure(words.contains("8 clients are connected already"), || words.clone())
    });
    drop(idle);
    wait_until("the operator gets in", 10, || {
        let output = reflector.control(&["show", "status"]);
        ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let counters = &reflector.json(&["show", "status"])["counters"];
    assert!(counters["speaker_control_connections_refused"].as_u64() >= Some(1), "{counters}");
    assert_eq!(counters["speaker_control_requests_too_long"], 1, "{counters}");
}
