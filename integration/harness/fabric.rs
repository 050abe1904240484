//! The fabric of a test: one underlay bridge, hosts on it, and guests that plug into the hosts' bridges.
//!
//! ```text
//!   guest 11        guest 21         each box a network namespace
//!     │ eth0          │ eth0         10.0.0.N and fd00::N on the underlay (MTU 1600)
//!   vm11            vm21             192.168.0.N for guest N, its MAC ends in N
//!  ┌──┴───────┐    ┌──┴───────┐
//!  │br100     │    │br100     │
//!  │vxlan100  │    │vxlan100  │
//!  │ host 1   │    │ host 2   │ …
//!  └──┬ eth0 ─┘    └──┬ eth0 ─┘
//!   ──┴───── under ───┴──────
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::netns::{Namespace, PREFIX, clear_dead};
use super::raw::{self, PacketSocket};
use super::{need, rows, wait_until};

/// The protocol of the underlay: of BGP sessions, of VTEPs, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// 10.0.0.N
    V4,
    /// fd00::N
    V6,
}

/// The underlay and the directory of one test. Make hosts and guests from it; drop it last or first, as you like.
#[derive(Debug)]
pub struct Fabric {
    tag: String,
    directory: PathBuf,
    underlay: Namespace,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Fabric {
    /// An underlay without hosts. Fails in words where the test cannot run here.
    pub fn new() -> Self {
        need(&[("/usr/sbin/ip", "iproute2"), ("/usr/sbin/bridge", "iproute2"), ("/usr/bin/ping", "iputils-ping")]);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            clear_dead();
        }
        let tag = format!("{PREFIX}{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(&tag);
        // A directory of that name can only be left over from a dead process with our id.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("cannot make {}: {error}", directory.display()));
        let underlay = Namespace::new(format!("{tag}-net"));
        underlay.ip_batch("link add under mtu 1600 type bridge mcast_snooping 0\nlink set under addrgenmode none up\n");
        Self { tag, directory, underlay }
    }

    /// A host with its foot on the underlay; `number` is 1 to 254.
    pub fn host(&self, number: u8) -> Host {
        let namespace = Namespace::new(format!("{}-h{number}", self.tag));
        self.underlay.ip_batch(&format!(
            "link add h{number} mtu 1600 type veth peer name eth0 mtu 1600 netns {name}\n\
             link set h{number} addrgenmode none master under up\n",
            name = namespace.name()
        ));
        namespace.ip_batch(&format!(
            "addr add 10.0.0.{number}/24 dev eth0\naddr add fd00::{number:x}/64 dev eth0 nodad\nlink set eth0 up\n"
        ));
        let directory = self.directory.join(format!("h{number}"));
        std::fs::create_dir_all(&directory).expect("a directory below ours");
        Host { namespace, number, directory }
    }

    /// A guest that is not plugged in yet.
    pub fn guest(&self, number: u8) -> Guest {
        let namespace = Namespace::new(format!("{}-v{number}", self.tag));
        Guest { namespace, number, port: format!("vm{number}"), place: None }
    }

    /// The first guest of a host (number 11 of host 1), plugged in.
    pub fn guest_at(&self, host: &Host, vni: u32) -> Guest {
        let mut guest = self.guest(host.number * 10 + 1);
        guest.plug(host, vni);
        guest
    }

    /// The same machine once more, with the same MAC and address: where it migrates to, or a clone.
    pub fn twin(&self, guest: &Guest) -> Guest {
        static TWINS: AtomicU32 = AtomicU32::new(1);
        let (number, count) = (guest.number, TWINS.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace::new(format!("{}-v{number}t{count}", self.tag));
        Guest { namespace, number, port: format!("vm{number}t{count}"), place: None }
    }

    /// Watches what passes the underlay from now on.
    pub fn capture(&self, host: &Host) -> Capture {
        let port = format!("h{}", host.number);
        let socket = raw::in_namespace(self.underlay.name(), move || PacketSocket::open(&port)).expect("a packet socket");
        Capture { socket }
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- configurations and logs are kept in {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// A machine of the fabric: hypervisor, reflector or whatever a test starts in it.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub namespace: Namespace,
    /// The last octet of its addresses.
    pub number: u8,
    /// Where its daemons keep files.
    pub directory: PathBuf,
}

impl Host {
    /// 10.0.0.N, also its router-id.
    pub fn v4(&self) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, self.number).into()
    }

    /// fd00::N
    pub fn v6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(self.number)).into()
    }

    /// The underlay address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4(),
            Family::V6 => self.v6(),
        }
    }

    /// A file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether an interface of this name is there.
    pub fn has_interface(&self, name: &str) -> bool {
        self.namespace.succeeds("ip", ["link", "show", "dev", name])
    }

    /// The MAC of one of its interfaces, as octets.
    pub fn mac_of(&self, interface: &str) -> [u8; 6] {
        let text = self.namespace.output("ip", ["-br", "link", "show", "dev", interface]);
        let mac = text.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let octets: Vec<u8> =
            mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap_or_else(|_| panic!("{text}"))).collect();
        octets.try_into().unwrap_or_else(|_| panic!("{text}"))
    }

    /// Makes the VXLAN device and bridge of a VNI the way an operator of FRR does: `vxlanN` in `brN`.
    pub fn make_vxlan(&self, vni: u32, local: IpAddr) {
        self.namespace.ip_batch(&format!(
            "link add name br{vni} type bridge mcast_snooping 0\n\
             link set br{vni} addrgenmode none up\n\
             link add vxlan{vni} type vxlan id {vni} local {local} dstport 4789 nolearning\n\
             link set vxlan{vni} addrgenmode none master br{vni} up\n"
        ));
        self.namespace.bridge_batch(&format!("link set dev vxlan{vni} learning off neigh_suppress on\n"));
    }

    /// Waits until the kernel has exactly these remote MACs for a VNI, in both FDBs.
    #[track_caller]
    pub fn expect_remote_macs(&self, vni: u32, wanted: &[(&Guest, IpAddr)]) {
        let wanted: BTreeMap<String, IpAddr> = wanted.iter().map(|(guest, vtep)| (guest.mac(), *vtep)).collect();
        self.expect_rows(vni, &wanted);
    }

    /// The same with MACs as text.
    #[track_caller]
    pub fn expect_rows(&self, vni: u32, wanted: &BTreeMap<String, IpAddr>) {
        let device = format!("vxlan{vni}");
        wait_until(&format!("remote MACs of {device} on host {}", self.number), 20, || {
            let found = rows::remote_macs(&self.namespace, &device)?;
            super::ensure(found == *wanted, || format!("wanted {wanted:?}, the kernel has {found:?}"))
        });
    }

    /// Waits until the flood list of a VNI is exactly this.
    #[track_caller]
    pub fn expect_flood_list(&self, vni: u32, wanted: &[IpAddr]) {
        let device = format!("vxlan{vni}");
        let wanted = wanted.iter().copied().collect();
        wait_until(&format!("flood list of {device} on host {}", self.number), 20, || {
            let found = rows::flood_list(&self.namespace, &device);
            super::ensure(found == wanted, || format!("wanted {wanted:?}, the kernel has {found:?}"))
        });
    }
}

/// A guest: one interface, one MAC, one address.
#[derive(Debug)]
pub struct Guest {
    /// Its namespace.
    pub namespace: Namespace,
    /// The last octet of its MAC and address.
    pub number: u8,
    /// The name of the host's end of its cable.
    pub port: String,
    /// The namespace that holds the host's end.
    place: Option<String>,
}

impl Guest {
    /// 02:00:00:00:00:NN
    pub fn mac(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.number)
    }

    /// 192.168.0.N
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 0, self.number)
    }

    /// Plugs it into `br{vni}` of a host (waiting until the bridge is there), unplugging it elsewhere first, and lets it speak.
    pub fn plug(&mut self, host: &Host, vni: u32) {
        self.plug_into(host, &format!("br{vni}"));
    }

    /// The same with a bridge by its name.
    pub fn plug_into(&mut self, host: &Host, bridge: &str) {
        self.attach(host, bridge);
        self.speak();
    }

    /// The same, and it says nothing.
    pub fn attach(&mut self, host: &Host, bridge: &str) {
        let (port, target) = (self.port.clone(), host.namespace.name().to_owned());
        wait_until(&format!("{bridge} on host {}", host.number), 20, || {
            super::ensure(host.has_interface(bridge), || "it is not there".to_owned())
        });
        match self.place.replace(target.clone()) {
            Some(place) if place != target => {
                super::netns::run("ip", ["-n", &place, "link", "set", &port, "netns", &target]).clear()
            }
            Some(_) => {}
            None => {
                let mac = self.mac();
                self.namespace.ip_batch(&format!(
                    "link add eth0 address {mac} mtu 1500 type veth peer name {port} mtu 1500 netns {target}\n\
                     addr add {}/24 dev eth0\n\
                     link set eth0 addrgenmode none up\n",
                    self.address()
                ));
            }
        }
        host.namespace.ip_batch(&format!("link set {port} addrgenmode none master {bridge} up\n"));
        // The bridge hears of the port's carrier a moment later; what is said before is heard by nobody.
        wait_until(&format!("{port} forwards on host {}", host.number), 20, || {
            let state = host.namespace.output("bridge", ["link", "show", "dev", &port]);
            super::ensure(state.contains("state forwarding"), || state)
        });
    }

    /// Takes its cable away, as a hypervisor does when a guest stops.
    pub fn unplug(&mut self) {
        if self.place.take().is_some() {
            self.namespace.ip("link del eth0");
        }
    }

    /// Sends a gratuitous ARP, as a guest does on arrival. Waits until its link is up.
    pub fn speak(&self) {
        let frame = raw::gratuitous_arp([2, 0, 0, 0, 0, self.number], self.address().octets());
        self.send(vec![frame]);
    }

    /// Sends frames as they are.
    pub fn send(&self, frames: Vec<Vec<u8>>) {
        let socket = raw::in_namespace(self.namespace.name(), || PacketSocket::open("eth0")).expect("a packet socket");
        wait_until(&format!("guest {} sends", self.number), 10, || socket.send(&frames[0]).map_err(|error| error.to_string()));
        for frame in &frames[1..] {
            socket.send(frame).expect("a device that took the first frame");
        }
    }

    /// Waits until this guest reaches the other.
    #[track_caller]
    pub fn expect_ping(&self, other: &Guest) {
        self.expect_ping_of(&other.address().to_string());
    }

    /// The same with any address.
    #[track_caller]
    pub fn expect_ping_of(&self, target: &str) {
        wait_until(&format!("guest {} pings {target}", self.number), 20, || {
            let answered = self.namespace.succeeds("ping", ["-n", "-c", "1", "-W", "1", target]);
            super::ensure(answered, || "no answer".to_owned())
        });
    }
}

/// Frames seen at a host's foot on the underlay since the capture began.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
}

impl Capture {
    /// Takes out everything that waits; each frame whole.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let mut frames = Vec::new();
        while let Some((len, _)) = self.socket.try_receive(&mut buffer).expect("a packet socket that works") {
            frames.push(buffer[..len.min(65536)].to_vec());
        }
        frames
    }
}

/// Writes a file for a daemon and gives its path.
pub fn write(host: &Host, name: &str, text: &str) -> PathBuf {
    let path = host.path(name);
    write_at(&path, text);
    path
}

/// Writes a file.
pub fn write_at(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
