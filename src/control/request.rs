//! What a client may ask. Written as `{"request":"show_macs","vni":100}`; unknown keys are refused, so that a misspelt
//! filter never lists everything. The answers are in `reply`.
//!
//! Long tables come in pages: `limit` asks for at most so many items (see [`super::page_size`]), `after` is the `next` of
//! the page before. A cursor is a place in the order of the table and not a state of the daemon: it stays good whatever
//! happens between two pages, and costs nothing when it is forgotten.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::{MacAddr, Vni};

/// One request: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The daemon at a glance: [`super::Reply::Status`].
    ShowStatus {},
    /// Every neighbor, or one: [`super::Reply::Neighbors`].
    ShowNeighbors {
        /// Only this one; [`super::Reply::NotFound`] where it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// Every VNI, or one: [`super::Reply::Vnis`].
    ShowVnis {
        /// Only this one; [`super::Reply::NotFound`] where it is not configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vni: Option<Vni>,
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// Every remote VTEP that some VNI floods to or has a MAC behind: [`super::Reply::Vteps`].
    ShowVteps {
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// The MAC-VRFs, ordered by VNI and MAC: [`super::Reply::Macs`].
    ShowMacs {
        /// Only this VNI.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vni: Option<Vni>,
        /// Only this MAC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddr>,
        /// Only those that are marked as duplicates.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        duplicates: bool,
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// The BGP table, every path of every route: [`super::Reply::Routes`].
    ShowRoutes {
        /// Only this EVPN route type (1 to 5, or an unknown one).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route_type: Option<u8>,
        /// Only routes whose label (type 2, 5) or PMSI label (type 3) is this VNI, or that this local VNI imports.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vni: Option<Vni>,
        /// Only this route distinguisher, as it is shown (`10.0.0.1:100`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rd: Option<String>,
        /// Only paths received from this neighbor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        neighbor: Option<IpAddr>,
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// The whole story of one MAC, from BGP paths to the kernel's row: [`super::Reply::Explanation`].
    Explain {
        /// In which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
    },
    /// Desired kernel state against the real one: [`super::Reply::Diff`].
    Diff {
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// The event stream: [`super::Reply::Done`], then [`super::Reply::Event`] until the client hangs up.
    Monitor {},
    /// Leave the fabric for good: [`super::Reply::Done`] when everything is withdrawn and removed.
    Drain {},
    /// Read the configuration again and apply what changed: [`super::Reply::Done`] with what changed in words, or
    /// [`super::Reply::Refused`] with the mistake in the file (then nothing changed).
    Reload {},
    /// Add a VNI at run time; it lives until it is deleted, or the daemon ends; where a caller is named, until the last caller has let
    /// go of it, over restarts of the daemon too.
    VniAdd(VniAdd),
    /// Delete a VNI that was added at run time: withdraws its routes and removes its rows, and the devices that evpnd made for it.
    VniDel {
        /// Which.
        vni: Vni,
        /// Only this caller lets go of it; it goes when nobody else holds it. None: it goes whoever holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caller: Option<String>,
    },
    /// A caller lets go of every VNI that it holds: [`super::Reply::NotFound`] where it holds none.
    CallerGone {
        /// Who.
        caller: String,
    },
    /// A guest with this MAC is at this port, though it has not spoken: announced until it is released, its port goes, or another
    /// host has it.
    MacClaim {
        /// In which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
        /// The name of a port of the VNI's bridge.
        port: String,
    },
    /// The guest with this MAC is gone: withdrawn at once. [`super::Reply::NotFound`] where no port has it.
    MacRelease {
        /// In which VNI.
        vni: Vni,
        /// Which MAC.
        mac: MacAddr,
    },
    /// Mark a MAC, or those of a VNI, or all, as duplicates no longer (RFC 7432 §15.1: the operator's corrective action):
    /// [`super::Reply::Done`], or [`super::Reply::NotFound`] where the VNI is not configured or the MAC is not marked. The same for
    /// addresses that two MACs have.
    ClearDuplicate {
        /// Only in this VNI.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vni: Option<Vni>,
        /// Only this MAC, and the addresses that it contends for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddr>,
        /// Only this address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ip: Option<IpAddr>,
    },
    /// Reset a session (Cease/4, administrative reset); it comes back by itself.
    ClearNeighbor {
        /// Which.
        address: IpAddr,
    },
}

/// A VNI to add at run time. What is left out is taken from `[vni-defaults]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VniAdd {
    /// The VNI.
    pub vni: Vni,
    /// Name of the VXLAN device to make where none exists; `{vni}` is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Name of the bridge to make where none exists; `{vni}` is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Route distinguisher, as in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rd: Option<String>,
    /// Import route targets, as in the file (`"auto"`, `"65000:100"`, `"*:100"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Vec<String>>,
    /// Export route targets, as in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Vec<String>>,
    /// Answer ARP and ND from the table on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor_suppression: Option<bool>,
    /// MTU in octets of the devices that are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Somebody else makes the device, and removes it: none is made, one that went is waited for. Until a caller wants the VNI
    /// without this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// The group that its other hosts flood to: it runs beside multicast (`flood = "multicast"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<IpAddr>,
    /// Who wants it: a VNI stays until the last caller has let go of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

impl VniAdd {
    /// A VNI with nothing but the defaults.
    pub fn new(vni: Vni) -> Self {
        Self {
            vni,
            device: None,
            bridge: None,
            rd: None,
            import: None,
            export: None,
            neighbor_suppression: None,
            mtu: None,
            existing: false,
            group: None,
            caller: None,
        }
    }
}
