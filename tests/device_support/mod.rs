//! A device that works, as the kernel room tells it: for tests that play the kernel by hand or simulate it.

use std::net::IpAddr;

use evpnd::base::Vni;
use evpnd::fib::ReadyDevice;

/// Made by evpnd, up, with nothing to say against it.
pub fn ready_device(vni: Vni, ifindex: u32, bridge_ifindex: u32, local: Option<IpAddr>) -> ReadyDevice {
    ReadyDevice {
        vni,
        ifindex,
        device: format!("vxlan{vni}"),
        bridge_ifindex,
        bridge: format!("br{vni}"),
        local,
        port: 4789,
        mtu: 1450,
        made_device: true,
        made_bridge: true,
        tells_misses: false,
        ipv6_off: false,
        up: true,
        warnings: Vec::new(),
    }
}
