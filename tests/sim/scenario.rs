//! One run: a fabric, its faults, then quiet, then the judgement.

use std::fmt;
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};

use super::faults::Fault;
use super::owed::Owed;
use super::world::{Happening, World};
use crate::tell;

/// After the last fault: the longest back-off (two minutes), a hold time, the ageing of bridges, the sweep, and room.
const QUIET: Duration = Duration::from_secs(900);

/// What a run was.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    pub virtual_secs: u64,
    pub steps: u64,
    pub faults: u64,
    pub fingerprint: u64,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.virtual_secs += other.virtual_secs;
        self.steps += other.steps;
        self.faults += other.faults;
        self.fingerprint ^= other.fingerprint;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} virtual hours, {} steps, {} faults", self.virtual_secs as f64 / 3600.0, self.steps, self.faults)
    }
}

/// Runs a seed. Panics where something does not hold.
pub fn run(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    super::fabric::build(&mut world);
    let mut modes = world.draw_modes(seed);
    for node in 0..world.nodes.len() {
        let after = world.millis(10_000);
        world.schedule(after, Happening::Fault(Fault::Start(node)));
    }
    world.schedule(Duration::from_secs(7), Happening::Ageing);
    let secs = 60 + world.random.below(1500);
    let count = world.random.below(60);
    world.draw_faults(count, secs);
    if let Some(random) = &mut modes {
        world.draw_talks(random);
        world.draw_mode_faults(random, secs);
    }
    world.run(Time::from_secs(secs + 20));
    world.mend();
    let end = world.now + QUIET;
    world.run(end);
    world.check_end();
    Outcome {
        virtual_secs: world.now.secs_since(Time::ZERO),
        steps: world.steps,
        faults: world.faults,
        fingerprint: world.fingerprint,
    }
}

impl World {
    /// Everything is mended: nothing new goes wrong from now on.
    pub fn mend(&mut self) {
        tell!(self, "=== quiet");
        self.model.quiet = true;
        self.model.owed = Owed::default();
        let now = self.now;
        for index in 0..self.nodes.len() {
            if self.nodes[index].stopping {
                self.finish_stop(index);
            }
            if self.nodes[index].draining && self.nodes[index].speaker.is_some() {
                self.kill(index);
            }
            let node = &mut self.nodes[index];
            node.kernel.refuse_percent = 0;
            node.kernel.deaf = false;
            node.slow_kernel_us = 0;
            node.kernel.sick = false;
            node.kernel.lagging = false;
            for vni in self.model.home[index].clone() {
                if self.nodes[index].vnis.insert(vni) {
                    self.disturb_vni(index, vni);
                }
            }
            self.start(index);
            self.reload(index, None);
            // The operator takes rows away that were written by hand.
            let rows: Vec<(Vni, MacAddr)> = self.nodes[index]
                .kernel
                .vxlans
                .iter()
                .flat_map(|(vni, vxlan)| vxlan.rows.values().filter(|row| !row.ext_learned).map(|row| (*vni, row.mac)))
                .collect();
            for (vni, mac) in rows {
                self.nodes[index].kernel.delete(vni, mac, true, true);
            }
            self.wake_room(index);
        }
        self.cut_until.clear();
        self.slow_until.clear();
        self.deaf_until.clear();
        for vm in &mut self.model.vms {
            vm.silent_until = now;
        }
    }
}
