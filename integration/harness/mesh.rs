//! Guests that all talk to one another all the time: each pings each other and sends all of them a broadcast, every few
//! milliseconds, and each frame that did not arrive, or came twice, is known with the moment at which it was sent. Each asks for
//! the MAC of each other as well, now and then, because pings with MACs that are known would not miss ARP.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fabric::Guest;
use super::raw::{self, PacketSocket};
use super::wait_until;

/// The pause between two rounds of a guest.
const ROUND: Duration = Duration::from_millis(40);
/// Who sent less than this ago may not be answered yet.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// A guest asks for the MAC of each other in one of so many rounds.
const ASKS: usize = 10;

/// The talk of a mesh that runs. [`Mesh::end`] tells what was lost.
#[derive(Debug)]
pub struct Mesh {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Talk>>,
    /// Where steps began.
    steps: Vec<(String, Instant)>,
}

/// What one guest sent and heard.
#[derive(Debug)]
struct Talk {
    number: u8,
    shouts: bool,
    rounds: Vec<Instant>,
    /// Answers of a guest to our pings, and its broadcasts, by round: how often each came.
    answers: BTreeMap<u8, BTreeMap<u16, u32>>,
    heard: BTreeMap<u8, BTreeMap<u16, u32>>,
    /// When each other was asked for its MAC, and when it was answered with that MAC.
    asked: BTreeMap<u8, Vec<Instant>>,
    told: BTreeMap<u8, Vec<Instant>>,
}

/// What was lost in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Its name.
    pub step: String,
    /// Pings sent, and of them not answered.
    pub pings: (usize, usize),
    /// Broadcasts sent, once for each guest that should hear it, and of them not heard.
    pub floods: (usize, usize),
    /// Broadcasts that were heard more than once.
    pub twice: usize,
    /// ARP requests sent, and of them not answered.
    pub asks: (usize, usize),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, pings, floods, twice, asks } = self;
        write!(
            f,
            "{step:<40} {:>6} pings, {} lost; {:>6} broadcasts, {} lost, {twice} twice; {:>4} questions, {} lost",
            pings.0, pings.1, floods.0, floods.1, asks.0, asks.1
        )
    }
}

impl Mesh {
    /// Begins, and returns when everybody was heard by everybody.
    pub fn start(guests: &[&Guest]) -> Self {
        Self::begin(guests, true)
    }

    /// The same without broadcasts, for segments that flood nothing.
    pub fn start_quietly(guests: &[&Guest]) -> Self {
        Self::begin(guests, false)
    }

    fn begin(guests: &[&Guest], shouts: bool) -> Self {
        for guest in guests {
            for other in guests.iter().filter(|other| other.number != guest.number) {
                guest.expect_ping(other);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let numbers: Vec<u8> = guests.iter().map(|guest| guest.number).collect();
        // All of them listen before the first speaks.
        let open = |guest: &&Guest| raw::in_namespace(guest.namespace.name(), || PacketSocket::open("eth0")).expect("a socket");
        let sockets: Vec<PacketSocket> = guests.iter().map(open).collect();
        let begin = |(guest, socket): (&&Guest, PacketSocket)| {
            let others = numbers.iter().copied().filter(|number| *number != guest.number).collect();
            let (number, stop) = (guest.number, stop.clone());
            std::thread::spawn(move || talk(&socket, number, others, shouts, &stop))
        };
        let threads = guests.iter().zip(sockets).map(begin).collect();
        Self { stop, threads, steps: vec![("before".to_owned(), Instant::now())] }
    }

    /// A step begins now. The one before it went on for two seconds at least.
    pub fn step(&mut self, name: impl Into<String>) {
        if let Some((_, since)) = self.steps.last() {
            std::thread::sleep(Duration::from_secs(2).saturating_sub(since.elapsed()));
        }
        self.steps.push((name.into(), Instant::now()));
    }

    /// Ends it, and tells of each step.
    pub fn end(self) -> Vec<Loss> {
        std::thread::sleep(UNDER_WAY * 2);
        self.stop.store(true, Ordering::Relaxed);
        let talks: Vec<Talk> = self.threads.into_iter().map(|thread| thread.join().expect("a guest that talks")).collect();
        let mut losses: Vec<Loss> = self.steps.iter().map(|(name, _)| Loss { step: name.clone(), ..Loss::default() }).collect();
        let last = talks.iter().filter_map(|talk| talk.rounds.last()).min().expect("rounds");
        let step_at = |sent: &Instant| self.steps.iter().rposition(|(_, since)| since <= sent).unwrap_or_default();
        for talk in &talks {
            for (sent, answered) in talk.asked.keys().flat_map(|other| talk.answers_of(*other)) {
                if sent + UNDER_WAY <= *last {
                    let asks = &mut losses[step_at(&sent)].asks;
                    asks.0 += 1;
                    asks.1 += usize::from(!answered);
                }
            }
            for (round, sent) in (0u16..).zip(&talk.rounds) {
                if *sent + UNDER_WAY > *last {
                    break;
                }
                let at = step_at(sent);
                for other in talks.iter().filter(|other| other.number != talk.number) {
                    let answered = talk.answers.get(&other.number).is_some_and(|answers| answers.contains_key(&round));
                    let heard = other.heard.get(&talk.number).and_then(|heard| heard.get(&round)).copied().unwrap_or_default();
                    let loss = &mut losses[at];
                    loss.pings.0 += 1;
                    loss.pings.1 += usize::from(!answered);
                    loss.floods.0 += usize::from(talk.shouts);
                    loss.floods.1 += usize::from(talk.shouts && heard == 0);
                    loss.twice += usize::from(heard > 1);
                }
            }
        }
        losses
    }
}

fn talk(socket: &PacketSocket, number: u8, others: Vec<u8>, shouts: bool, stop: &AtomicBool) -> Talk {
    let mut talk = Talk {
        number,
        shouts,
        rounds: Vec::new(),
        answers: BTreeMap::new(),
        heard: BTreeMap::new(),
        asked: BTreeMap::new(),
        told: BTreeMap::new(),
    };
    let (mut next, mut buffer) = (Instant::now(), vec![0; 2048]);
    let ready = |frame: &[u8]| wait_until("a guest speaks", 10, || socket.send(frame).map_err(|error| error.to_string()));
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next && talk.rounds.len() < usize::from(u16::MAX) {
            let round = talk.rounds.len() as u16;
            talk.rounds.push(Instant::now());
            if shouts {
                ready(&shout(number, round));
            }
            for (place, &other) in others.iter().enumerate() {
                ready(&ping(number, other, round));
                if usize::from(round) % ASKS == place % ASKS {
                    talk.asked.entry(other).or_default().push(Instant::now());
                    ready(&ask(number, other));
                }
            }
            next = Instant::now() + ROUND;
        }
        while let Some((len, own)) = socket.try_receive(&mut buffer).expect("a packet socket that works") {
            if !own {
                talk.note(&buffer[..len.min(2048)]);
            }
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    talk
}

impl Talk {
    fn note(&mut self, frame: &[u8]) {
        let Some(kind) = frame.get(12..14) else { return };
        let round = |at: usize| frame.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        if kind == [0x88, 0xb5] && frame[..6] == [0xff; 6] {
            let (from, round) = (frame[11], round(14).unwrap_or_default());
            *self.heard.entry(from).or_default().entry(round).or_default() += 1;
        } else if kind == [0x08, 0x00] && frame.len() >= 42 && frame[23] == 1 && frame[34] == 0 && frame[39] == self.number {
            let (from, round) = (frame[29], round(40).unwrap_or_default());
            *self.answers.entry(from).or_default().entry(round).or_default() += 1;
        } else if kind == [0x08, 0x06] && frame.len() >= 42 && frame[21] == 2 && frame[41] == self.number {
            let other = frame[31];
            if frame[22..28] == mac(other) {
                self.told.entry(other).or_default().push(Instant::now());
            }
        }
    }

    /// When another was asked for its MAC, and whether it was answered: before it was asked again, or, late, with the answer to that.
    fn answers_of(&self, other: u8) -> Vec<(Instant, bool)> {
        let (asked, told) = (&self.asked[&other], self.told.get(&other).map(Vec::as_slice).unwrap_or_default());
        let before = |end: Option<&Instant>| end.map_or(told.len(), |end| told.partition_point(|at| at < end));
        let of = |index: usize| before(asked.get(index + 1)) - before(asked.get(index));
        (0..asked.len()).map(|index| (asked[index], of(index) > 0 || index + 1 < asked.len() && of(index + 1) > 1)).collect()
    }
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// A broadcast with the number of its round.
fn shout(number: u8, round: u16) -> Vec<u8> {
    let mut frame = raw::plain_frame(mac(number), [0xff; 6]);
    frame[14..16].copy_from_slice(&round.to_be_bytes());
    frame
}

/// A broadcast question of ARP (RFC 826).
fn ask(from: u8, to: u8) -> Vec<u8> {
    let mut frame = raw::gratuitous_arp(mac(from), [192, 168, 0, from]);
    frame[38..42].copy_from_slice(&[192, 168, 0, to]);
    frame
}

/// An echo request of ICMP; its identifier is the guest that asks, its sequence number the round (RFC 792).
fn ping(from: u8, to: u8, round: u16) -> Vec<u8> {
    let mut frame = raw::plain_frame(mac(from), mac(to));
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 1, 0, 0, 192, 168, 0, from, 192, 168, 0, to]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame[34..40].copy_from_slice(&[8, 0, 0, 0, 0, from]);
    frame[40..42].copy_from_slice(&round.to_be_bytes());
    let sum = checksum(&frame[34..60]);
    frame[36..38].copy_from_slice(&sum);
    frame
}

/// The checksum of the Internet (RFC 1071).
fn checksum(octets: &[u8]) -> [u8; 2] {
    let sum: u32 = octets.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) as u16).wrapping_add((folded >> 16) as u16)).to_be_bytes()
}
