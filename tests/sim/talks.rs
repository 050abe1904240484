//! Guests that talk to machines elsewhere, in whatever way their host runs the VNI: a frame for what the host knows must go where it is,
//! at once or, on demand, in time; what is written on demand and not used must go. Judged as each frame is sent, and after quiet.
//!
//! Nothing is expected of a host that has an excuse: one that does not know the machine for sure (`World::is_steady`), or whose kernel
//! was troubled lately, for what was refused or undone is put right only after a while.

use std::net::IpAddr;
use std::time::Duration;

use evpnd::base::{MacAddr, Random, Time, Vni};

use super::kernel::Sent;
use super::machines::Vm;
use super::modes::Mode;
use super::world::{Happening, World};

/// Frames in a row that may find nothing though the machine is known, and how long that may last.
const FRAMES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(3);
/// A daemon that began so long ago has heard everybody, and gave up what it had found.
const GROWN_UP: Duration = Duration::from_secs(115);
/// The longest back-off, and the audit.
const CONVALESCENCE: Duration = Duration::from_secs(200);
/// Between the end of a life and the row's end.
const SLACK: Duration = Duration::from_secs(40);

/// Somebody at a host talks to a machine.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    host: usize,
    vm: usize,
    until: Time,
    pause: Duration,
    /// It asks for the address before each frame, and sends none where nobody answers.
    asks: bool,
    /// It tries so many MACs that nobody has, too.
    scans: u32,
    turn: u32,
    failed: u32,
    failed_since: Time,
    /// When a frame last went where it should.
    reached: Option<Time>,
    answered: Option<Time>,
    /// When it last tried.
    tried: Time,
}

impl World {
    /// Draws who talks with whom in this run.
    pub fn draw_talks(&mut self, random: &mut Random) {
        for host in 0..self.nodes.len() {
            for vni in self.model.vnis.clone() {
                let vms: Vec<usize> = (0..self.model.vms.len()).filter(|vm| self.model.vms[*vm].vni == vni).collect();
                let mode = self.nodes[host].modes.get(&vni).copied();
                let most = match mode {
                    None => continue,
                    Some(_) if vms.is_empty() => continue,
                    Some(Mode::OnDemand(_)) => 12,
                    Some(_) => 4,
                };
                for _ in 0..most / 4 + random.below(most) {
                    let vm = vms[random.below(vms.len() as u64) as usize];
                    let start = Duration::from_millis(random.below(1_800_000));
                    let lasts = Duration::from_secs([3, 40, 200, 3000][random.below(4) as usize]);
                    let pause = Duration::from_millis([200, 1000, 4000, 9000][random.below(4) as usize]);
                    let talk = Talk {
                        host,
                        vm,
                        until: self.now + start + lasts,
                        pause,
                        asks: random.below(2) == 0,
                        scans: [0, 0, 3, 20, 200][random.below(5) as usize],
                        turn: 0,
                        failed: 0,
                        failed_since: Time::ZERO,
                        reached: None,
                        answered: None,
                        tried: Time::ZERO,
                    };
                    self.schedule(start, Happening::Talks(self.model.talks.len()));
                    self.model.talks.push(talk);
                }
            }
        }
    }

    /// One frame of a conversation, and the next one later.
    pub fn talks(&mut self, number: usize) {
        let (talk, now) = (self.model.talks[number], self.now);
        if now > talk.until {
            return;
        }
        self.schedule(talk.pause, Happening::Talks(number));
        let vm = self.model.vms[talk.vm];
        let Vm { vni, mac, ip, .. } = vm;
        if self.nodes[talk.host].off || vm.host == Some(talk.host) {
            return;
        }
        // Word of what is more than the kernel keeps is lost, now and then.
        let scans = if talk.scans > 100 && !talk.turn.is_multiple_of(4) { 0 } else { talk.scans };
        for n in 0..scans {
            let [_, _, high, low] = (n + number as u32).to_be_bytes();
            self.nodes[talk.host].kernel.send(now, vni, MacAddr([2, 0xff, 0, 0, high, low]));
        }
        let asked = ip.filter(|_| talk.asks);
        let kernel = &mut self.nodes[talk.host].kernel;
        let answer = asked.map(|ip| kernel.ask(vni, ip).map(|binding| binding.mac));
        let sent = if answer == Some(None) { Sent::Nowhere } else { kernel.send(now, vni, mac) };
        self.wake_room(talk.host);
        let right = vm.host.and_then(|owner| self.nodes[owner].vtep).map(Sent::To);
        let fine = Some(sent) == right && answer.is_none_or(|answer| answer == Some(mac));
        let excused = fine || !self.must_reach(&vm, talk.host, asked);
        let talk = &mut self.model.talks[number];
        talk.tried = now;
        talk.turn += 1;
        if excused {
            talk.failed = 0;
        } else {
            talk.failed += 1;
            if talk.failed == 1 {
                talk.failed_since = now;
            }
        }
        talk.reached = Some(now).filter(|_| fine);
        talk.answered = Some(now).filter(|_| fine && asked.is_some());
        if talk.failed >= FRAMES && now.since(talk.failed_since) >= PATIENCE {
            let since = talk.failed_since;
            let host = &self.nodes[self.model.talks[number].host].name;
            panic!(
                "{host}: frames for {mac} ({asked:?}) of VNI {vni} do not arrive since {since:?}: {sent:?}, answered {answer:?}"
            );
        }
    }

    /// Whether a host must find a machine, by its address where that is given.
    fn must_reach(&self, vm: &Vm, host: usize, asked: Option<IpAddr>) -> bool {
        let (Some(owner), here) = (vm.host, &self.nodes[host]) else { return false };
        let runs = here.speaker.is_some() && !here.stopping && !here.draining && self.is_grown_up(host);
        let troubled = self.model.troubled.get(&host).is_some_and(|until| self.now < *until);
        // What an operator wrote by hand stands where it points.
        let by_hand =
            here.kernel.vxlans.get(&vm.vni).and_then(|vxlan| vxlan.rows.get(&vm.mac)).is_some_and(|row| !row.ext_learned);
        runs && !troubled
            && !by_hand
            && self.is_steady(vm, host)
            && self.can_tunnel(host, owner)
            && asked.is_none_or(|_| self.tells_addresses(owner, host, vm.vni) && self.has_said(vm, owner))
    }

    /// Whether the daemon of a host has heard everybody, and knows what an earlier run left.
    pub fn is_grown_up(&self, host: usize) -> bool {
        self.nodes[host].started + GROWN_UP <= self.now
    }

    /// The kernel of a host was meddled with, until then.
    pub fn trouble(&mut self, node: usize, until: Time) {
        let until = until + CONVALESCENCE;
        let at = self.model.troubled.entry(node).or_insert(until);
        *at = until.max(*at);
    }

    /// Whether a row on demand that is gone was used so lately that it should stand.
    pub fn must_stand(&self, host: usize, vni: Vni, mac: MacAddr) -> bool {
        let Some(lifetime) = self.mode(host, vni).lifetime() else { return true };
        let lately = |at: Option<Time>| at.is_some_and(|at| at + lifetime > self.now + Duration::from_secs(5));
        self.talks_to(host, vni, mac).any(|talk| lately(talk.reached))
    }

    /// Whether nobody used a row on demand for so long that it should be gone.
    pub fn must_sleep(&self, host: usize, vni: Vni, mac: MacAddr) -> bool {
        let Some(lifetime) = self.mode(host, vni).lifetime() else { return false };
        let used = self.nodes[host].kernel.vxlans.get(&vni).and_then(|vxlan| vxlan.used.get(&mac));
        used.is_some_and(|used| self.now.since(used.last) > lifetime + SLACK)
    }

    /// The same of an answer: it stands as long as the row of its MAC, and for a life after it was asked for.
    pub fn answer_must_sleep(&self, host: usize, vni: Vni, mac: MacAddr) -> bool {
        let Some(lifetime) = self.mode(host, vni).lifetime() else { return false };
        let row = self.nodes[host].kernel.vxlans.get(&vni).is_some_and(|vxlan| vxlan.rows.contains_key(&mac));
        let last = self.talks_to(host, vni, mac).map(|talk| talk.tried).max().unwrap_or(Time::ZERO);
        !row && self.now.since(last) > lifetime * 3 + SLACK
    }

    /// Whether an answer was asked for so lately that it should stand.
    pub fn answer_must_stand(&self, host: usize, vni: Vni, mac: MacAddr) -> bool {
        let Some(lifetime) = self.mode(host, vni).lifetime() else { return true };
        let lately = |at: Option<Time>| at.is_some_and(|at| at + lifetime > self.now + Duration::from_secs(5));
        self.talks_to(host, vni, mac).any(|talk| lately(talk.answered))
    }

    fn talks_to(&self, host: usize, vni: Vni, mac: MacAddr) -> impl Iterator<Item = &Talk> {
        let vm = self.model.numbers.get(&(vni, mac)).copied();
        self.model.talks.iter().filter(move |talk| talk.host == host && Some(talk.vm) == vm)
    }
}
