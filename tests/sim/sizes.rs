//! Nothing grows without bound: what each daemon may hold while things go wrong, and exactly what it holds after quiet.

use evpnd::base::Vni;
use evpnd::control::Status;

use super::node::Node;
use super::world::World;

/// One node's sizes are looked at in so many steps.
const EVERY: u64 = 50;
/// Questions to the kernel under way, more than which nobody asks here.
const QUESTIONS: u64 = 200;

impl World {
    /// Now and then, of one node after another.
    pub fn check_sizes(&self) {
        let nodes = self.nodes.len() as u64;
        if !self.steps.is_multiple_of(EVERY) {
            return;
        }
        let index = (self.steps / EVERY % nodes) as usize;
        let node = &self.nodes[index];
        let Some(sizes) = node.speaker.as_ref().map(|speaker| speaker.sizes(self.now)) else { return };
        let (macs, vnis) = (self.model.vms.len() as u64, self.model.vnis.len() as u64);
        let addresses = self.model.vms.iter().filter(|vm| vm.ip.is_some()).count() as u64;
        // Each host may announce each MAC, without and with its address, and each VNI.
        let routes = nodes * (macs + addresses + vnis);
        let bounds = [
            ("destinations", sizes.destinations, routes),
            ("attribute blocks", sizes.attribute_blocks, routes * nodes),
            ("remote MACs", sizes.remote_macs, macs),
            ("local MACs", sizes.local_macs, macs),
            ("rows", sizes.rows, macs + vnis * nodes),
            // One for each host, and those that operators invent.
            ("remotes of rows", sizes.row_remotes, nodes + 1),
            ("rows waiting", sizes.rows_waiting, sizes.rows),
            ("events waiting", sizes.events_waiting, 0),
            ("actions waiting", sizes.actions_waiting, 0),
            ("questions to the kernel", sizes.requests_waiting, QUESTIONS),
            ("connections", node.conns.len() as u64, 4 * nodes),
        ];
        for (what, is, most) in bounds {
            assert!(is <= most, "{}: {is} {what}, at most {most} expected", node.name);
        }
    }

    /// After quiet there is one route for each machine and for each VNI of each host, and nothing else.
    pub fn check_sizes_at_end(&self, index: usize, status: &Status, wrong: &mut Vec<String>) {
        let node = &self.nodes[index];
        let Some(sizes) = node.speaker.as_ref().map(|speaker| speaker.sizes(self.now)) else { return };
        let has = |host: usize, vni: Vni| self.nodes[host].has(vni);
        let announces = |host: usize, vni: Vni| has(host, vni) && self.mode(host, vni).has_macs();
        let placed =
            || self.model.vms.iter().filter_map(|vm| vm.host.filter(|host| announces(*host, vm.vni)).map(|host| (vm, host)));
        let floods = |node: &Node, vni: Vni| node.has(vni) && node.mode(vni).wants_floods();
        let instances = self.nodes.iter().filter(|node| !node.reflector);
        let instances: usize = instances.map(|node| self.model.vnis.iter().filter(|vni| floods(node, **vni)).count()).sum();
        let addresses = placed().filter(|(vm, host)| vm.ip.is_some() && self.mode(*host, vm.vni).has_addresses()).count();
        let routes = (placed().count() + addresses + instances) as u64;
        let is_remote = |vni: Vni, host: usize| host != index && announces(index, vni) && self.can_tunnel(index, host);
        let remote = placed().filter(|(vm, host)| is_remote(vm.vni, *host)).count() as u64;
        let exactly = [
            ("routes", status.routes, routes),
            ("destinations", sizes.destinations, routes),
            ("remote MACs", sizes.remote_macs, remote),
            ("rows", sizes.rows, status.rows.wanted - status.rows.on_demand),
        ];
        for (what, is, must) in exactly.into_iter().filter(|(_, is, must)| is != must) {
            wrong.push(format!("{}: {is} {what}, {must} expected", node.name));
        }
        let peers = node.peers.len() as u64;
        let at_most = [
            ("paths", status.paths, routes * (peers + 1)),
            ("attribute blocks", sizes.attribute_blocks, status.paths),
            // The audit's may be under way.
            ("questions to the kernel", sizes.requests_waiting, 1),
        ];
        for (what, is, most) in at_most.into_iter().filter(|(_, is, most)| is > most) {
            wrong.push(format!("{}: {is} {what}, at most {most} expected", node.name));
        }
    }
}
