//! GoBGP (Debian's 3.10) as an iBGP reflector, or as an eBGP route server: transit that leaves next hop and AS path alone.

use std::fmt::Write;
use std::net::IpAddr;

use crate::harness::fabric::{Host, write};
use crate::harness::netns::Process;
use crate::harness::{ensure, need, wait_until};

const GOBGPD: &str = "/usr/bin/gobgpd";

/// What gobgpd is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// iBGP: every neighbour is a client.
    Reflector,
    /// eBGP between its neighbours.
    RouteServer,
}

/// A running gobgpd.
#[derive(Debug)]
pub struct Gobgp {
    _process: Process,
}

impl Gobgp {
    /// Starts it; `neighbors` are (address, AS number).
    pub fn start(host: &Host, role: Role, asn: u32, neighbors: &[(IpAddr, u32)]) -> Self {
        Self::start_as(host, &configuration(host, role, asn, neighbors, false))
    }

    /// The same with graceful restart for EVPN, RFC 8538 included.
    pub fn start_graceful(host: &Host, role: Role, asn: u32, neighbors: &[(IpAddr, u32)]) -> Self {
        Self::start_as(host, &configuration(host, role, asn, neighbors, true))
    }

    fn start_as(host: &Host, text: &str) -> Self {
        need(&[(GOBGPD, "gobgpd"), ("/usr/bin/gobgp", "gobgpd")]);
        let config = write(host, "gobgpd.toml", text);
        let process = host.namespace.spawn(GOBGPD, ["-f", &config.display().to_string()], &host.path("gobgpd.log"));
        wait_until("gobgpd's interface", 20, || {
            ensure(host.namespace.succeeds("gobgp", ["global"]), || "it does not answer".to_owned())
        });
        Self { _process: process }
    }
}

fn configuration(host: &Host, role: Role, asn: u32, neighbors: &[(IpAddr, u32)], graceful: bool) -> String {
    let mut text = format!("[global.config]\n  as = {asn}\n  router-id = \"{}\"\n", host.v4());
    for (address, asn) in neighbors {
        let _ = write!(
            text,
            "\n[[neighbors]]\n  \
               [neighbors.config]\n    neighbor-address = \"{address}\"\n    peer-as = {asn}\n  \
               [neighbors.timers.config]\n    connect-retry = 1\n    hold-time = 9\n    keepalive-interval = 3\n  \
               [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"l2vpn-evpn\"\n"
        );
        if graceful {
            text.push_str("    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n");
            text.push_str("  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 60\n");
            text.push_str("    notification-enabled = true\n");
        }
        let _ = match role {
            Role::Reflector => write!(
                text,
                "  [neighbors.route-reflector.config]\n    route-reflector-client = true\n    route-reflector-cluster-id = \"{}\"\n",
                host.v4()
            ),
            Role::RouteServer => write!(text, "  [neighbors.route-server.config]\n    route-server-client = true\n"),
        };
    }
    text
}
