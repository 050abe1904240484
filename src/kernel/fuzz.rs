//! What the kernel's thread reads out of a datagram, for `tests/fuzz/fuzz_targets/netlink.rs`. Not in any ordinary build.

use super::codec;
use super::devices::{self, Circumstances};
use super::fdb::Entry;
use super::links::Links;
use super::nexthops::{self, Nexthop};
use crate::base::Vni;
use crate::fib::DeviceSpec;

/// Reads a datagram into an empty table and asks everything of it.
pub fn datagram(octets: &[u8]) {
    let mut links = Links::default();
    for message in codec::messages(octets) {
        match message.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                let change = links.handle(message.kind, message.body);
                for link in &change.touched {
                    let Some(known) = links.link(link.ifindex) else { continue };
                    assert!(links.name(known.ifindex) == known.name && links.named(&known.name).is_some());
                    if let Some(master) = known.master {
                        assert!(links.members(master).any(|member| member.ifindex == known.ifindex));
                    }
                }
            }
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
                if let Some(entry) = Entry::parse(message.body) {
                    let _ = (entry.row(), entry.station());
                    assert!(entry.show(|ifindex| links.name(ifindex)).starts_with(&entry.mac.to_string()));
                }
            }
            nexthops::RTM_NEWNEXTHOP | nexthops::RTM_DELNEXTHOP => {
                assert!(Nexthop::parse(message.body).is_none_or(|nexthop| nexthop.id() != 0));
            }
            _ => assert!(codec::answer(&message).errno >= i32::MIN + 1),
        }
    }
    let Some(vni) = Vni::new(100) else { return };
    let spec = DeviceSpec { nexthop_groups: true, ..DeviceSpec::new(vni, [10, 0, 0, 1].into()) };
    // Whatever was told, the planner answers, and a refusal has words.
    if let Err(refusal) = devices::judge(&spec, &links, &|_| true, &Circumstances::default()) {
        assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty());
    }
}
