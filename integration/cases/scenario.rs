//! What most cases share: three hypervisors of ours around something in the middle, and the proof that the segment works.

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::{Fabric, Family, Guest, Host};

/// The VNI of the cases that need only one.
pub const VNI: u32 = 100;
/// The AS of iBGP cases.
pub const ASN: u32 = 65000;

/// What the daemon of a host has in its state file; null where there is none yet.
pub fn state(host: &Host) -> serde_json::Value {
    let text = std::fs::read_to_string(host.path("state/state.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Hosts 1, 2 and 3, and host 254 for the middle.
pub struct Site {
    /// The underlay.
    pub fabric: Fabric,
    /// The hypervisors.
    pub hosts: [Host; 3],
    /// The middle.
    pub middle: Host,
}

impl Site {
    /// Hosts without daemons.
    pub fn new() -> Self {
        let fabric = Fabric::new();
        let hosts = [1, 2, 3].map(|number| fabric.host(number));
        let middle = fabric.host(254);
        Self { fabric, hosts, middle }
    }

    /// evpnd on each hypervisor, with VNI 100 and the middle as its neighbour. `asn` gives each host's AS.
    pub fn hypervisors(&self, family: Family, asn: impl Fn(&Host) -> u32, middle_asn: u32) -> [Evpnd<'_>; 3] {
        self.hypervisors_with(family, asn, middle_asn, |config| config)
    }

    /// The same with more in their configurations.
    pub fn hypervisors_with(
        &self,
        family: Family,
        asn: impl Fn(&Host) -> u32,
        middle_asn: u32,
        more: impl Fn(Config) -> Config,
    ) -> [Evpnd<'_>; 3] {
        self.hosts.each_ref().map(|host| {
            let neighbor = format!("asn = {middle_asn}\n");
            let config =
                Config::hypervisor(host, asn(host), family).neighbor(self.middle.address(family), &neighbor).vni(VNI, "");
            Evpnd::start(host, &more(config))
        })
    }

    /// Three guests, one on each hypervisor, plugged in.
    pub fn guests(&self) -> [Guest; 3] {
        self.hosts.each_ref().map(|host| self.fabric.guest_at(host, VNI))
    }

    /// Rows on every hypervisor, flood lists, traffic, a move, a withdraw, and no difference left behind.
    pub fn prove(&self, daemons: &[Evpnd<'_>; 3], family: Family) {
        let [a, b, c] = &self.hosts;
        let [va, vb, vc] = self.hosts.each_ref().map(|host| host.address(family));
        daemons.iter().for_each(|daemon| daemon.expect_established(self.middle.address(family)));
        a.expect_flood_list(VNI, &[vb, vc]);
        b.expect_flood_list(VNI, &[va, vc]);
        c.expect_flood_list(VNI, &[va, vb]);
        let [mut g1, g2, g3] = self.guests();
        a.expect_remote_macs(VNI, &[(&g2, vb), (&g3, vc)]);
        b.expect_remote_macs(VNI, &[(&g1, va), (&g3, vc)]);
        c.expect_remote_macs(VNI, &[(&g1, va), (&g2, vb)]);
        g1.expect_ping(&g2);
        g1.expect_ping(&g3);
        g2.expect_ping(&g3);
        // A move is followed everywhere, and so is the move back.
        g1.plug(c, VNI);
        a.expect_remote_macs(VNI, &[(&g1, vc), (&g2, vb), (&g3, vc)]);
        b.expect_remote_macs(VNI, &[(&g1, vc), (&g3, vc)]);
        c.expect_remote_macs(VNI, &[(&g2, vb)]);
        g1.expect_ping(&g2);
        g1.plug(a, VNI);
        b.expect_remote_macs(VNI, &[(&g1, va), (&g3, vc)]);
        c.expect_remote_macs(VNI, &[(&g1, va), (&g2, vb)]);
        g2.expect_ping(&g1);
        // A port that goes takes its MAC away everywhere; the flood lists stay.
        g1.unplug();
        b.expect_remote_macs(VNI, &[(&g3, vc)]);
        c.expect_remote_macs(VNI, &[(&g2, vb)]);
        c.expect_flood_list(VNI, &[va, vb]);
        daemons.iter().for_each(Evpnd::expect_no_difference);
    }
}
