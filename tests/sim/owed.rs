//! What the fabric owes to a daemon that went and may come back (RFC 4724, `loss-hold-time`): the rows that lead to its host
//! stay, everywhere, for as long as those who keep its routes promise, and through its return.
//!
//! A promise is noted when a daemon crashes or is told to stop, for each row that its holder had no excuse to lose at that
//! moment, and is forgiven as soon as anything else goes wrong: what two troubles at once may cost is not judged here.

use std::collections::BTreeMap;
use std::time::Duration;

use evpnd::base::Time;
use evpnd::config;

use super::faults::{Fault, Kind};
use super::model::SETTLED;
use super::world::World;

/// Promises by holder and machine.
#[derive(Debug, Default)]
pub struct Owed {
    /// Whose daemon went, and when.
    owner: Option<(usize, Time)>,
    until: BTreeMap<(usize, usize), Time>,
}

impl World {
    /// The daemon of `owner` goes, with a `word` or without: what was steady until now is owed.
    pub fn owe(&mut self, owner: usize, word: bool) {
        self.model.owed = Owed::default();
        let node = &self.nodes[owner];
        if node.reflector || node.draining || node.speaker.is_none() {
            return;
        }
        let keepers: Vec<usize> = node.peers.iter().copied().filter(|peer| self.nodes[*peer].reflector).collect();
        let promises: Vec<Duration> = keepers.iter().map(|keeper| self.promise(owner, *keeper, word)).collect();
        let mut until = BTreeMap::new();
        for host in (0..self.nodes.len()).filter(|host| *host != owner && !self.nodes[*host].reflector) {
            let promise = promises.iter().min().copied().unwrap_or_else(|| self.promise(owner, host, word));
            let (Some(_), false) = (&self.nodes[host].speaker, self.nodes[host].stopping) else { continue };
            for (number, vm) in self.model.vms.iter().enumerate() {
                if vm.host == Some(owner) && self.is_steady(vm, host) {
                    until.insert((host, number), self.now + promise);
                }
            }
        }
        self.model.owed = Owed { owner: Some((owner, self.now)), until };
    }

    /// How long `keeper` keeps the routes of `owner`, with something to spare. Without graceful restart a word is a good-bye.
    fn promise(&self, owner: usize, keeper: usize, word: bool) -> Duration {
        let rules = |node: usize| {
            let config = config::parse("sim.toml", &self.nodes[node].config_text()).unwrap_or_else(|error| panic!("{error}"));
            config.graceful_restart
        };
        let (theirs, ours) = (rules(owner), rules(keeper));
        let secs = if theirs.enabled && ours.enabled {
            u32::from(theirs.restart_time_secs).min(ours.stale_time_secs)
        } else if word {
            0
        } else {
            ours.loss_hold_time_secs
        };
        Duration::from_secs(u64::from(secs.saturating_sub(2)))
    }

    /// What happens next may excuse a loss, or tells that a daemon is back.
    pub fn judge_promises(&mut self, fault: &Fault) {
        match fault {
            Fault::Kind(kind) if is_of_machines(*kind) => {}
            Fault::Attach(..) | Fault::CrowdComes(..) | Fault::Detach(..) | Fault::Hear(..) | Fault::Spoof(..) => {}
            Fault::Ask(_) | Fault::Kill(..) => {}
            Fault::Start(node) if self.model.owed.owner.is_some_and(|(owner, _)| owner == *node) => {
                // Until it counts as settled again.
                let (now, until) = (self.now, self.now + SETTLED + Duration::from_secs(25));
                self.model.owed.until.retain(|_, at| std::mem::replace(at, until) > now);
            }
            _ => self.model.owed = Owed::default(),
        }
    }

    /// Whether a row for `vm` was promised to stay at `host`.
    pub fn is_owed(&self, host: usize, number: usize) -> bool {
        let Some((owner, went)) = self.model.owed.owner else { return false };
        let vm = &self.model.vms[number];
        self.model.owed.until.get(&(host, number)).is_some_and(|until| self.now < *until)
            && vm.host == Some(owner)
            && vm.since <= went
            && self.has_spoken(vm)
            && !self.may_be_old_news(vm)
            && [host, owner].into_iter().all(|node| self.is_calm_vni(node, vm.vni))
    }
}

fn is_of_machines(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VmAppears
            | Kind::VmMoves
            | Kind::VmMovesLate
            | Kind::VmBounces
            | Kind::VmSilent
            | Kind::VmPort
            | Kind::VmGone
            | Kind::VmTwice
            | Kind::CrowdMoves
            | Kind::Spoof
            | Kind::StaticMoves
            | Kind::Requests
    )
}
