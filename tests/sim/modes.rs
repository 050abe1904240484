//! How each host runs a VNI: the ways of `docs/CONFIG.md`, as a run draws them, and what follows for everybody else. What is
//! said here is taken from that document, not from the daemon.
//!
//! The draws come from a stream of random numbers of their own, and half of the seeds run EVPN proper everywhere: these mean what
//! they meant before there were other ways. `EVPND_SIM_MODES=0` runs any seed so.

use evpnd::base::{Random, Vni};

use super::world::World;
use crate::tell;

/// Keeps the stream of the modes apart from that of everything else.
const STREAM: u64 = 0x006d_6f64_6573;

/// How a host runs a VNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// MACs from type 2, the flood list from type 3.
    #[default]
    Proper,
    /// Known hosts: `flood = "none"`.
    Known,
}

/// The hosts of a VNI: a way for each, drawn among these. Those of one line are a sensible deployment.
const DEPLOYMENTS: &[&[Mode]] = &[&[Mode::Proper], &[Mode::Known], &[Mode::Known, Mode::Proper]];

impl Mode {
    /// Its lines of the file.
    pub fn keys(self) -> String {
        match self {
            Self::Proper => String::new(),
            Self::Known => "flood = \"none\"\n".to_owned(),
        }
    }

    /// MACs are announced, and those of others get rows.
    pub fn has_macs(self) -> bool {
        true
    }

    /// Addresses are announced, and those of others are answered for.
    pub fn has_addresses(self) -> bool {
        true
    }

    /// It tells others that it wants what they flood (type 3).
    pub fn wants_floods(self) -> bool {
        self != Self::Known
    }

    /// Whether it floods to a host that runs the VNI in this way.
    pub fn floods_to(self, other: Self) -> bool {
        self != Self::Known && other.wants_floods()
    }
}

impl World {
    /// Draws how each host runs each VNI of its file.
    pub fn draw_modes(&mut self, seed: u64) {
        let mut random = Random::new(seed ^ STREAM);
        if random.below(2) == 0 || std::env::var_os("EVPND_SIM_MODES").is_some_and(|value| value == "0") {
            return;
        }
        for vni in self.model.vnis.clone() {
            let deployment = DEPLOYMENTS[random.below(DEPLOYMENTS.len() as u64) as usize];
            for index in 0..self.nodes.len() {
                let mode = deployment[random.below(deployment.len() as u64) as usize];
                if self.model.home[index].contains(&vni) {
                    tell!(self, "{} runs VNI {vni} as {mode:?}", self.nodes[index].name);
                    self.nodes[index].modes.insert(vni, mode);
                }
            }
        }
    }

    /// How a node runs a VNI.
    pub fn mode(&self, index: usize, vni: Vni) -> Mode {
        self.nodes[index].mode(vni)
    }
}
