//! FRR (Debian's 8.4.4): zebra and bgpd as a hypervisor, bgpd as reflector or as an eBGP spine.
//!
//! Each host gets daemons of its own by explicit paths for configuration, pid file, zebra socket and vty socket: the
//! packages' default paths are shared by the whole machine.

use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use crate::harness::fabric::{Host, write};
use crate::harness::netns::Process;
use crate::harness::{ensure, need, wait_until};

const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";

/// Who a bgpd talks to.
#[derive(Debug, Clone, Copy)]
pub struct Neighbor<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// Further words after `neighbor ADDRESS`, outside the address family: `password x`, `ttl-security hops 1`.
    pub more: &'a [&'a str],
}

impl<'a> Neighbor<'a> {
    /// A neighbour with nothing special.
    pub fn new(address: IpAddr, asn: u32) -> Self {
        Self { address, asn, more: &[] }
    }
}

/// What bgpd is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// With zebra: `advertise-all-vni` on the devices that the test has made.
    Hypervisor,
    /// iBGP: every neighbour is a client.
    Reflector,
    /// eBGP between its neighbours; the next hop stays the VTEP.
    Spine,
}

/// Running FRR daemons of one host.
#[derive(Debug)]
pub struct Frr<'a> {
    host: &'a Host,
    _zebra: Option<Process>,
    _bgpd: Process,
}

impl<'a> Frr<'a> {
    /// Starts the daemons. A hypervisor's devices must stand already (zebra finds them either way, but sooner so).
    pub fn start(host: &'a Host, role: Role, asn: u32, neighbors: &[Neighbor<'_>]) -> Self {
        Self::start_with(host, role, asn, neighbors, &[])
    }

    /// The same with further lines in `router bgp`.
    pub fn start_with(host: &'a Host, role: Role, asn: u32, neighbors: &[Neighbor<'_>], lines: &[&str]) -> Self {
        // A daemon that was killed left its sockets behind.
        for socket in ["bgpd.vty", "zebra.vty", "zserv.api"] {
            let _ = std::fs::remove_file(host.path(socket));
        }
        need(&[(BGPD, "frr"), (ZEBRA, "frr"), ("/usr/bin/vtysh", "frr")]);
        // The daemons change to the package's own user, and make pid files and sockets as it.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&host.directory, open).expect("a directory of ours");
        let directory = host.directory.display().to_string();
        let (zserv, vty) = (format!("{directory}/zserv.api"), directory.clone());
        let arguments = |daemon: &str, config: &str| {
            let mut words: Vec<String> =
                ["-P", "0", "-z", &zserv, "--vty_socket", &vty, "-f", config, "-i"].map(str::to_owned).to_vec();
            words.push(format!("{directory}/{daemon}.pid"));
            words
        };
        let zebra = (role == Role::Hypervisor).then(|| {
            let config = write(host, "zebra.conf", "log stdout\n");
            let zebra = host.namespace.spawn(ZEBRA, arguments("zebra", &config.display().to_string()), &host.path("zebra.log"));
            wait_until("zebra's socket", 10, || ensure(host.path("zserv.api").exists(), || "it is not there".to_owned()));
            zebra
        });
        let config = write(host, "bgpd.conf", &configuration(host, role, asn, neighbors, lines));
        let mut words = arguments("bgpd", &config.display().to_string());
        if zebra.is_none() {
            words.push("-Z".to_owned());
        }
        let bgpd = host.namespace.spawn(BGPD, words, &host.path("bgpd.log"));
        wait_until("bgpd's vty socket", 10, || ensure(host.path("bgpd.vty").exists(), || "it is not there".to_owned()));
        Self { host, _zebra: zebra, _bgpd: bgpd }
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        self.host
    }

    /// Has vtysh change the configuration that runs.
    pub fn configure(&self, commands: &[&str]) {
        let directory = self.host.directory.display().to_string();
        let mut words = vec!["--vty_socket", &directory, "-c", "configure terminal"];
        words.extend(commands.iter().flat_map(|command| ["-c", command]));
        self.host.namespace.output("vtysh", words);
    }

    /// What vtysh says to one command.
    pub fn show(&self, command: &str) -> String {
        self.host.namespace.output("vtysh", ["--vty_socket", &self.host.directory.display().to_string(), "-c", command])
    }
}

fn configuration(host: &Host, role: Role, asn: u32, neighbors: &[Neighbor<'_>], lines: &[&str]) -> String {
    let mut text = format!(
        "log stdout\n\
         router bgp {asn}\n \
          bgp router-id {}\n \
          no bgp default ipv4-unicast\n \
          no bgp ebgp-requires-policy\n \
          timers bgp 3 9\n",
        host.v4()
    );
    for line in lines {
        let _ = writeln!(text, " {line}");
    }
    let mut family = String::new();
    for Neighbor { address, asn, more } in neighbors {
        let _ = writeln!(text, " neighbor {address} remote-as {asn}\n neighbor {address} timers connect 1");
        let _ = writeln!(text, " neighbor {address} advertisement-interval 0");
        for words in *more {
            let _ = writeln!(text, " neighbor {address} {words}");
        }
        let _ = writeln!(family, "  neighbor {address} activate");
        let _ = match role {
            Role::Reflector => writeln!(family, "  neighbor {address} route-reflector-client"),
            Role::Spine => writeln!(family, "  neighbor {address} attribute-unchanged next-hop"),
            Role::Hypervisor => Ok(()),
        };
    }
    if role == Role::Hypervisor {
        family.push_str("  advertise-all-vni\n");
    }
    let _ = write!(text, " address-family l2vpn evpn\n{family} exit-address-family\n");
    text
}
