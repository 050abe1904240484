//! The kernel room against the real kernel: every test in a network namespace of its own, asserted with `ip` and `bridge`.
//!
//! Needs root (and `ip`, `bridge` of iproute2). Without it the tests fail and say so: a test that passes by not running
//! is no test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use evpnd::base::{MacAddr, Vni};
use evpnd::fib::{
    Batch, BatchDone, DeviceSpec, DeviceState, KernelCommand, KernelEvent, KernelRow, Op, OpKind, ReadyDevice, Remote,
};
use evpnd::kernel::{self, KernelHandle, KernelOptions};

// ---- the stage -------------------------------------------------------------------------------------------------

/// Runs `test` on a thread in a new network namespace, with an underlay: `u0` with 10.0.0.1 and fd00::1, MTU 1500.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: takes flags, concerns this thread only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "these tests make network namespaces: run them as root");
        sh("ip link set lo up");
        sh("ip link add u0 type veth peer name u1");
        sh("ip link set u0 up; ip link set u1 up");
        sh("ip addr add 10.0.0.1/24 dev u0; ip addr add fd00::1/64 dev u0 nodad");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a shell line in this thread's namespace; it must succeed. Returns what it printed.
fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).stderr(Stdio::piped()).output().expect("sh runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace to move interfaces to; it lasts as long as the value.
struct Elsewhere(Child);

impl Elsewhere {
    fn new() -> Self {
        let mut child = Command::new("unshare").args(["-n", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Once it answers it is there.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Self(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Room {
    handle: KernelHandle,
    woken: Receiver<()>,
    seen: Vec<KernelEvent>,
}

impl Room {
    fn new() -> Self {
        Self::with_buffer(128 << 20)
    }

    fn with_buffer(receive_buffer: usize) -> Self {
        let (sender, woken) = sync_channel(1);
        let wake = Box::new(move || {
            let _ = sender.try_send(());
        });
        let handle = kernel::start(KernelOptions { receive_buffer, wake }).unwrap();
        Self { handle, woken, seen: Vec::new() }
    }

    fn want(&self, specs: &[DeviceSpec]) {
        self.handle.send(KernelCommand::Devices(specs.to_vec()));
    }

    /// The first event, from now on, that `pick` takes.
    fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&KernelEvent) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            while let Some(event) = self.handle.try_receive() {
                let picked = pick(&event);
                self.seen.push(event);
                if let Some(picked) = picked {
                    return picked;
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not come; seen: {:#?}", &self.seen[self.seen.len().saturating_sub(20)..]);
            let _ = self.woken.recv_timeout(left);
        }
    }

    /// Everything that comes within a while.
    fn listen(&mut self, millis: u64) -> Vec<KernelEvent> {
        let (end, from) = (Instant::now() + Duration::from_millis(millis), self.seen.len());
        loop {
            while let Some(event) = self.handle.try_receive() {
                self.seen.push(event);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.seen[from..].to_vec();
            }
            let _ = self.woken.recv_timeout(left);
        }
    }

    fn ready(&mut self, number: u32) -> ReadyDevice {
        self.wait("a ready device", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if ready.vni == vni(number) => Some(ready.clone()),
            KernelEvent::Device(DeviceState::Unusable { vni: other, reason, remedy }) if *other == vni(number) => {
                panic!("unusable: {reason}: {remedy}")
            }
            _ => None,
        })
    }

    fn unusable(&mut self, number: u32) -> (String, String) {
        self.wait("a refusal", |event| match event {
            KernelEvent::Device(DeviceState::Unusable { vni: other, reason, remedy }) if *other == vni(number) => {
                Some((reason.clone(), remedy.clone()))
            }
            _ => None,
        })
    }

    fn write(&mut self, ops: Vec<Op>) -> BatchDone {
        let id = self.seen.len() as u64 + 1;
        self.handle.send(KernelCommand::Write(Batch { id, ops }));
        self.wait("the end of a batch", |event| match event {
            KernelEvent::BatchDone(done) if done.id == id => Some(done.clone()),
            _ => None,
        })
    }

    fn rows(&mut self, number: u32) -> Vec<KernelRow> {
        self.handle.send(KernelCommand::Dump { token: 9, vni: vni(number) });
        self.wait("rows", |event| match event {
            KernelEvent::Rows { token: 9, rows, .. } => Some(rows.clone().unwrap()),
            _ => None,
        })
    }

    fn row(&mut self, mac: MacAddr) -> Option<String> {
        self.handle.send(KernelCommand::GetRow { token: 7, vni: vni(100), mac });
        self.wait("a row", |event| match event {
            KernelEvent::Row { token: 7, row } => Some(row.clone()),
            _ => None,
        })
    }

    fn heard(&mut self, mac: MacAddr) -> (String, bool) {
        self.wait(&format!("local MAC {mac}"), |event| match event {
            KernelEvent::LocalMac(local) if local.mac == mac => Some((local.port_name.clone(), local.is_static)),
            KernelEvent::LocalMacs { macs, .. } => {
                macs.iter().find(|local| local.mac == mac).map(|local| (local.port_name.clone(), local.is_static))
            }
            _ => None,
        })
    }

    fn unheard(&mut self, mac: MacAddr) {
        self.wait(&format!("the end of local MAC {mac}"), |event| match event {
            KernelEvent::LocalMacGone { mac: other, .. } if *other == mac => Some(()),
            _ => None,
        });
    }

    fn device_gone(&mut self) -> String {
        self.wait("a device's end", |event| match event {
            KernelEvent::DeviceGone { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    /// A ready VNI 100 with a tenant's port `t1`, whose other end is `p1`.
    fn with_port() -> (Self, ReadyDevice) {
        let mut room = Self::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        room.wait("the local MACs", |event| matches!(event, KernelEvent::LocalMacs { .. }).then_some(()));
        add_port("t1", "p1");
        (room, ready)
    }
}

fn add_port(port: &str, peer: &str) {
    sh(&format!("ip link add {port} type veth peer name {peer}"));
    for name in [port, peer] {
        sh(&format!("ip link set {name} addrgenmode none; ip link set {name} up"));
    }
    sh(&format!("ip link set {port} master br100"));
}

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn spec(number: u32) -> DeviceSpec {
    DeviceSpec {
        vni: vni(number),
        device: format!("vxlan{number}"),
        bridge: format!("br{number}"),
        local: "10.0.0.1".parse().unwrap(),
        port: 4789,
        mtu: None,
        learning: false,
        neighbor_suppression: true,
    }
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0xee, a, b, c, d])
}

fn op(ifindex: u32, kind: OpKind, mac: MacAddr, ip: &str) -> Op {
    Op { ifindex, kind, mac, remote: Remote { ip: ip.parse().unwrap(), vni: None } }
}

const DELETE: OpKind = OpKind::DeleteUnicast { self_only: false };

/// `bridge fdb` lines of one MAC, sorted.
fn fdb(mac: MacAddr) -> Vec<String> {
    let mut lines: Vec<String> =
        sh("bridge fdb show").lines().filter(|line| line.contains(&mac.to_string())).map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

fn link(name: &str) -> String {
    sh(&format!("ip -d link show {name}"))
}

fn exists(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().unwrap().status.success()
}

/// Processor time of this process so far: user, system.
fn cpu() -> (Duration, Duration) {
    // SAFETY: the structure is plain numbers, and is filled in by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (time(usage.ru_utime), time(usage.ru_stime))
}

/// Sends a broadcast frame from `source` out of an interface.
fn speak(interface: &str, source: MacAddr) {
    Mouth::new(interface).speak(source);
}

/// A packet socket on an interface. Closing one waits for a grace period of the kernel, some 16 ms: keep it to measure.
struct Mouth(std::os::fd::OwnedFd, libc::sockaddr_ll);

impl Mouth {
    fn new(interface: &str) -> Self {
        use std::os::fd::FromRawFd as _;
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: the structure is plain numbers; the name ends with a zero; the descriptor is new and nobody else's.
        unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
            assert!(socket >= 0);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            Self(std::os::fd::OwnedFd::from_raw_fd(socket), address)
        }
    }

    fn speak(&self, source: MacAddr) {
        use std::os::fd::AsRawFd as _;
        let mut frame = vec![0xff; 6];
        frame.extend(source.0);
        frame.extend([0x88, 0xb5]);
        frame.resize(64, 0);
        let (address, len) = (std::ptr::from_ref(&self.1).cast(), size_of::<libc::sockaddr_ll>() as u32);
        // SAFETY: the frame and the address live over the call, their lengths are given, the descriptor is open.
        let sent = unsafe { libc::sendto(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, len) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

// ---- devices ---------------------------------------------------------------------------------------------------

#[test]
fn makes_device_and_bridge() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert!(ready.made_device && ready.made_bridge && ready.up, "{ready:?}");
        assert_eq!((ready.mtu, ready.port, ready.local), (1450, 4789, Some("10.0.0.1".parse().unwrap())));
        assert_eq!(ready.warnings, Vec::<String>::new());
        let vxlan = link("vxlan100");
        for word in ["vxlan id 100 local 10.0.0.1", "dstport 4789", "nolearning", "mtu 1450", "master br100", "alias evpnd"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        for word in ["addrgenmode none", "learning off", "neigh_suppress on"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        let bridge = link("br100");
        for word in ["stp_state 0", "mcast_snooping 0", "vlan_filtering 0", "forward_delay 0", "addrgenmode none", "alias evpnd"]
        {
            assert!(bridge.contains(word), "{word}: {bridge}");
        }
        for name in ["vxlan100", "br100"] {
            assert_eq!(sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/disable_ipv6")).trim(), "1");
            assert_eq!(sh(&format!("ip -6 addr show dev {name}")), "");
        }
    });
}

#[test]
fn makes_devices_over_ipv6() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[DeviceSpec { local: "fd00::1".parse().unwrap(), ..spec(100) }]);
        let ready = room.ready(100);
        assert_eq!((ready.mtu, ready.local), (1430, Some("fd00::1".parse().unwrap())));
        let done = room.write(vec![
            op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "fd00::2"),
            op(ready.ifindex, OpKind::AppendFlood, MacAddr::ZERO, "fd00::2"),
            op(ready.ifindex, OpKind::ReplaceUnicast, mac(2), "10.0.0.2"),
        ]);
        assert_eq!(done.errors, [(2, libc::EAFNOSUPPORT)]);
        assert!(fdb(mac(1))[0].contains("dst fd00::2"), "{:?}", fdb(mac(1)));
        assert_eq!(fdb(mac(2)), Vec::<String>::new(), "the bridge's half was taken back");
        assert_eq!(room.rows(100).len(), 2);
    });
}

#[test]
fn the_mtu_comes_from_the_way_out_when_the_address_is_on_a_loopback() {
    in_namespace(|| {
        sh("ip addr add 10.9.9.9/32 dev lo; ip link set u0 mtu 1600; ip route add default via 10.0.0.2");
        let mut room = Room::new();
        room.want(&[DeviceSpec { local: "10.9.9.9".parse().unwrap(), ..spec(100) }, DeviceSpec { mtu: Some(1400), ..spec(200) }]);
        assert_eq!(room.ready(100).mtu, 1550);
        assert_eq!(room.ready(200).mtu, 1400);
    });
}

#[test]
fn a_restart_knows_what_it_made_and_keeps_the_rows() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let first = room.ready(100);
        room.write(vec![op(first.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        room.handle.stop();
        let mut room = Room::new();
        room.want(&[spec(100)]);
        assert_eq!(room.ready(100), first);
        let rows = room.rows(100);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].ext_learned && !rows[0].permanent && rows[0].mac == mac(1), "{rows:?}");
    });
}

#[test]
fn adopts_by_vni_mends_what_it_may_and_warns_of_the_rest() {
    in_namespace(|| {
        sh("ip link add onebr.7 type bridge; ip link set onebr.7 up");
        sh("ip link add eth0.7 type vxlan id 100 group 239.0.0.7 dev u0 dstport 8472; ip link set eth0.7 master onebr.7");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert_eq!((ready.device.as_str(), ready.bridge.as_str(), ready.port), ("eth0.7", "onebr.7", 8472));
        assert!(!ready.made_device && !ready.made_bridge && !ready.up);
        let text = ready.warnings.join("\n");
        for word in ["ip link set eth0.7 up", "no local address", "still floods to its multicast group 239.0.0.7"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let vxlan = link("eth0.7");
        for word in ["nolearning", "learning off", "neigh_suppress on"] {
            assert!(vxlan.contains(word), "{word}: {vxlan}");
        }
        // The commands of the warnings mend it, and that is seen.
        for warning in &ready.warnings {
            sh(&format!("ip link {}", warning.split(": ip link ").nth(1).unwrap()));
        }
        let mended = room.wait("a device without warnings", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if ready.warnings.is_empty() => Some(ready.clone()),
            _ => None,
        });
        assert!(mended.up);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::DeviceGone { .. })));
        // It is not ours to remove.
        room.handle.send(KernelCommand::Remove { vnis: vec![vni(100)] });
        let kept = room.wait("the end of a removal", |event| match event {
            KernelEvent::Removed { kept, .. } => Some(kept.clone()),
            _ => None,
        });
        assert_eq!(kept, [(vni(100), "eth0.7 was not made by evpnd".to_owned())]);
        assert!(exists("eth0.7"));
    });
}

#[test]
fn an_adopted_device_without_a_bridge_gets_one() {
    in_namespace(|| {
        sh("ip link add vx type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let ready = room.ready(100);
        assert!(!ready.made_device && ready.made_bridge && ready.up, "{ready:?}");
        // A device that appears later gets time to be put into its platform's own bridge.
        room.want(&[spec(100), spec(200)]);
        room.ready(200);
        sh("ip link del vxlan200; ip link add own type bridge; ip link set own up");
        assert!(room.device_gone().contains("removed"));
        room.ready(200);
        sh("ip link del vx; ip link add vx type vxlan id 300 local 10.0.0.1 dstport 4789 nolearning");
    });
}

#[test]
fn refuses_in_words_and_leaves_nothing_half_made() {
    in_namespace(|| {
        // What not every kernel has (VLAN-aware bridges, bonds, VRFs) is in the unit tests of the planner.
        sh("ip link add vxlan1 type veth peer name br2");
        sh("ip link add x5a type vxlan id 5 dstport 4789; ip link add x5b type vxlan id 5 dstport 4790");
        sh("ip link add vxlan6 type vxlan external dstport 4791");
        sh("ip link add br7 type bridge; ip link add x7 type vxlan external dstport 4792; ip link set x7 master br7");
        sh("ip link add vxlan10 type vxlan id 1000 dstport 4789");
        let mut room = Room::new();
        let numbers = [1, 2, 5, 6, 7, 10];
        let mut specs: Vec<DeviceSpec> = numbers.iter().map(|number| spec(*number)).collect();
        specs.push(DeviceSpec { device: "name-of-17-octets".to_owned(), ..spec(9) });
        specs.push(DeviceSpec { bridge: "br11".to_owned(), ..spec(11) });
        specs.push(DeviceSpec { bridge: "br11".to_owned(), ..spec(12) });
        room.want(&specs);
        let expected = [
            (1, "vxlan1 exists that is not VXLAN", "set another `device`"),
            (2, "br2 is not a bridge", "set another `bridge`"),
            (5, "2 VXLAN devices: x5a, x5b", "ip link del"),
            (6, "single VXLAN device for many VNIs", "set another `device`"),
            (7, "x7, a single VXLAN device", "ip link set x7 nomaster"),
            (9, "cannot be the name of an interface", "15 octets"),
            (10, "vxlan10 is the VXLAN device of VNI 1000", "set another `device`"),
            (12, "already carries VNI 11", "set another `bridge`"),
        ];
        let mut left: BTreeSet<u32> = expected.iter().map(|(number, _, _)| *number).collect();
        while !left.is_empty() {
            let (number, reason, remedy) = room.wait("refusals", |event| match event {
                KernelEvent::Device(DeviceState::Unusable { vni, reason, remedy }) => {
                    Some((vni.get(), reason.clone(), remedy.clone()))
                }
                _ => None,
            });
            let Some((_, why, what)) = expected.iter().find(|(other, _, _)| *other == number) else {
                panic!("{number}: {reason}")
            };
            assert!(reason.contains(why) && remedy.contains(what), "{number}: {reason}: {remedy}");
            left.remove(&number);
        }
        for name in ["vxlan2", "br1", "br6", "br9"] {
            assert!(!exists(name), "{name} was made");
        }
        // The remedies work while it runs.
        sh("ip link del x5b; ip link del vxlan1");
        room.ready(2);
        assert!(!room.ready(5).made_device);
    });
}

#[test]
fn what_was_begun_is_rolled_back() {
    in_namespace(|| {
        // The kernel refuses the second device of a port that an `external` one has, and only when it is set up.
        sh("ip link add ext type vxlan external dstport 4789; ip link set ext up");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let (reason, remedy) = room.unusable(100);
        assert!(reason.contains("vxlan100 could not be set up") || reason.contains("could not be made"), "{reason}: {remedy}");
        assert!(!exists("vxlan100") && !exists("br100"));
        sh("ip link del ext");
        room.ready(100);
    });
}

#[test]
fn a_device_removed_behind_our_back_is_made_again() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let mut last = room.ready(100).ifindex;
        for _ in 0..3 {
            sh("ip link del vxlan100");
            assert!(room.device_gone().contains("removed"));
            let ready = room.ready(100);
            assert_ne!(ready.ifindex, last);
            last = ready.ifindex;
        }
        sh("ip link del br100");
        assert!(room.device_gone().contains("bridge br100 no more"));
        assert!(room.ready(100).made_bridge);
        // Port flags that somebody changes are set again.
        sh("bridge link set dev vxlan100 learning on");
        room.listen(500);
        assert!(link("vxlan100").contains(" learning off"));
        // Set down by somebody: that is meant, and told.
        sh("ip link set vxlan100 down");
        let warned = room.wait("a warning", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if !ready.up => Some(ready.warnings.clone()),
            _ => None,
        });
        assert_eq!(warned, ["vxlan100 is down: ip link set vxlan100 up"]);
    });
}

#[test]
fn follows_a_device_to_another_bridge_and_a_new_name() {
    in_namespace(|| {
        sh("ip link add bra type bridge; ip link add brb type bridge; ip link set bra up; ip link set brb up");
        sh(
            "ip link add vx type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning; ip link set vx master bra; ip link set vx up",
        );
        let mut room = Room::new();
        room.want(&[spec(100)]);
        assert_eq!(room.ready(100).bridge, "bra");
        sh("ip link set vx master brb");
        room.device_gone();
        assert_eq!(room.ready(100).bridge, "brb");
        sh("ip link set vx name vy");
        assert_eq!(room.ready(100).device, "vy");
        // Gone for good: one of ours takes its place.
        sh("ip link del vy");
        room.device_gone();
        assert!(room.ready(100).made_device);
    });
}

#[test]
fn drain_removes_what_nothing_else_uses() {
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[spec(100), spec(200)]);
        room.ready(100);
        room.ready(200);
        add_port("t1", "p1");
        room.listen(100);
        room.handle.send(KernelCommand::Remove { vnis: vec![vni(100), vni(200)] });
        let (gone, kept) = room.wait("the end of a removal", |event| match event {
            KernelEvent::Removed { vnis, kept } => Some((vnis.clone(), kept.clone())),
            _ => None,
        });
        assert_eq!(gone, [vni(100), vni(200)]);
        assert_eq!(kept, [(vni(100), "bridge br100 stays: t1 still in it".to_owned())]);
        assert!(!exists("vxlan100") && exists("br100") && !exists("vxlan200") && !exists("br200"));
        room.listen(300);
        assert!(!exists("vxlan100"), "it is wanted no more");
    });
}

// ---- rows ------------------------------------------------------------------------------------------------------

#[test]
fn rows_stand_in_both_databases_and_go_from_both() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        let done = room.write(vec![
            op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.2"),
            Op {
                remote: Remote { ip: "10.0.0.3".parse().unwrap(), vni: Some(vni(777)) },
                ..op(index, OpKind::ReplaceUnicast, mac(2), "10.0.0.3")
            },
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.2"),
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.3"),
            op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.3"),
        ]);
        assert_eq!(done.errors, []);
        let both = |dst: &str| {
            vec![
                format!("{} dev vxlan100 dst {dst} self extern_learn static", mac(1)),
                format!("{} dev vxlan100 extern_learn master br100", mac(1)),
            ]
        };
        assert_eq!(fdb(mac(1)), both("10.0.0.2"));
        assert!(fdb(mac(2))[0].contains("dst 10.0.0.3 vni 777 self extern_learn"), "{:?}", fdb(mac(2)));
        assert_eq!(fdb(MacAddr::ZERO).len(), 2);
        assert!(fdb(MacAddr::ZERO)[0].contains("extern_learn permanent"));
        assert_eq!(room.row(mac(1)).unwrap().lines().map(str::to_owned).collect::<Vec<_>>(), both("10.0.0.2"));
        assert_eq!(room.row(mac(9)), None);
        let rows = room.rows(100);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows.iter().filter(|row| row.mac == MacAddr::ZERO && row.permanent).count(), 2);
        assert!(rows.iter().any(|row| row.remote.vni == Some(vni(777))));
        // A move is one write; the device set down and up keeps the rows.
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(1), "10.0.0.4")]);
        assert_eq!(fdb(mac(1)), both("10.0.0.4"));
        sh("ip link set vxlan100 down; ip link set vxlan100 up");
        assert_eq!(fdb(mac(1)), both("10.0.0.4"));
        let done = room.write(vec![
            op(index, DELETE, mac(1), "10.0.0.4"),
            op(index, DELETE, mac(1), "10.0.0.4"),
            op(index, OpKind::DeleteFlood, MacAddr::ZERO, "10.0.0.2"),
            op(index, OpKind::DeleteFlood, MacAddr::ZERO, "10.0.0.9"),
            op(index, OpKind::DeleteUnicast { self_only: true }, mac(2), "10.0.0.3"),
        ]);
        assert_eq!(done.errors, [], "deleting what is not there is done");
        assert_eq!(fdb(mac(1)), Vec::<String>::new());
        assert_eq!(fdb(mac(2)).len(), 1, "only the VXLAN half went");
        assert_eq!(fdb(MacAddr::ZERO).len(), 1);
        // Half a row is no row, in a dump.
        room.write(vec![op(index, OpKind::ReplaceUnicast, mac(3), "10.0.0.4")]);
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(3)));
        assert!(!room.rows(100).iter().any(|row| row.mac == mac(3)));
        // Nothing was told of our own writes and deletes but of the flood list.
        let told = |event: &&KernelEvent| matches!(event, KernelEvent::RowGone { row, .. } if row.mac != MacAddr::ZERO && row.mac != mac(3));
        room.listen(100);
        assert_eq!(room.seen.iter().filter(told).count(), 0, "{:#?}", room.seen);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowChanged { .. })), "{:#?}", room.seen);
    });
}

#[test]
fn ten_thousand_rows_with_errors_among_them() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let mut expected = BTreeSet::new();
        for first in (0..10_000u32).step_by(64) {
            let mut ops: Vec<Op> = (first..(first + 64).min(10_000))
                .map(|n| op(ready.ifindex, OpKind::ReplaceUnicast, mac(n), "10.0.0.2"))
                .collect();
            // Each kind of mistake, at the begin, in the middle and at the end.
            let bad = [
                (0, "fd00::2", libc::EAFNOSUPPORT),
                (ops.len() / 2, "fd00::3", libc::EAFNOSUPPORT),
                (ops.len() - 1, "fd00::4", libc::EAFNOSUPPORT),
            ];
            for (at, ip, _) in bad {
                ops[at].remote.ip = ip.parse::<IpAddr>().unwrap();
            }
            ops[1].ifindex = 999_999;
            let mut errors: Vec<(u32, i32)> = bad.iter().map(|(at, _, errno)| (*at as u32, *errno)).collect();
            errors.push((1, libc::ENODEV));
            errors.sort_unstable();
            for (at, _) in &errors {
                expected.insert(ops[*at as usize].mac);
            }
            assert_eq!(room.write(ops).errors, errors);
        }
        let rows = room.rows(100);
        assert_eq!(rows.len(), 10_000 - expected.len());
        assert!(rows.iter().all(|row| !expected.contains(&row.mac)));
        // A batch that is much too long goes in pieces.
        let ops = (0..10_000).map(|n| op(ready.ifindex, DELETE, mac(n), "10.0.0.2")).collect();
        assert_eq!(room.write(ops).errors, []);
        assert_eq!(room.rows(100), []);
        assert_eq!(sh("bridge fdb show | grep -c extern_learn || true").trim(), "0");
        room.listen(200);
        assert!(!room.seen.iter().any(|event| matches!(event, KernelEvent::RowGone { .. })), "echoes are not told");
    });
}

#[test]
fn rows_that_others_delete_or_change_are_told() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let index = ready.ifindex;
        room.write((1..4).map(|n| op(index, OpKind::ReplaceUnicast, mac(n), "10.0.0.2")).collect());
        room.write(vec![op(index, OpKind::AppendFlood, MacAddr::ZERO, "10.0.0.2")]);
        let gone = |room: &mut Room, mac: MacAddr| {
            room.wait("a row's end", |event| match event {
                KernelEvent::RowGone { row, .. } if row.mac == mac => Some(row.remote),
                _ => None,
            })
        };
        sh(&format!("bridge fdb del {} dev vxlan100 self", mac(1)));
        assert_eq!(gone(&mut room, mac(1)).ip, "10.0.0.2".parse::<IpAddr>().unwrap());
        sh(&format!("bridge fdb del {} dev vxlan100 master", mac(2)));
        gone(&mut room, mac(2));
        sh("bridge fdb del 00:00:00:00:00:00 dev vxlan100 dst 10.0.0.2 self");
        gone(&mut room, MacAddr::ZERO);
        sh(&format!("bridge fdb replace {} dev vxlan100 dst 10.0.0.9 self", mac(3)));
        let row = room.wait("a row's change", |event| match event {
            KernelEvent::RowChanged { row, .. } if row.mac == mac(3) => Some(*row),
            _ => None,
        });
        assert!(!row.ext_learned, "{row:?}");
        assert_eq!(row.remote.ip, "10.0.0.9".parse::<IpAddr>().unwrap());
    });
}

// ---- local MACs --------------------------------------------------------------------------------------------------

#[test]
fn local_macs_come_move_age_and_go() {
    in_namespace(|| {
        let (mut room, _) = Room::with_port();
        add_port("t2", "p2");
        speak("p1", mac(1));
        assert_eq!(room.heard(mac(1)), ("t1".to_owned(), false));
        // A move is told as the new place, not as an end.
        let from = room.seen.len();
        speak("p2", mac(1));
        assert_eq!(room.heard(mac(1)), ("t2".to_owned(), false));
        assert!(!room.seen[from..].iter().any(|event| matches!(event, KernelEvent::LocalMacGone { .. })));
        // Static on a port; then set PERMANENT, which makes it the port's own.
        sh(&format!("bridge fdb add {} dev t1 master static", mac(2)));
        assert_eq!(room.heard(mac(2)), ("t1".to_owned(), true));
        sh(&format!("bridge fdb del {} dev t1 master", mac(2)));
        room.unheard(mac(2));
        sh(&format!("bridge fdb add {} dev t1 master permanent", mac(3)));
        // A port that leaves, goes down, or is removed takes its MACs along.
        for (number, line) in [(10, "ip link set t1 nomaster"), (11, "ip link set t1 down"), (12, "ip link del t1")] {
            speak("p1", mac(number));
            room.heard(mac(number));
            sh(line);
            room.unheard(mac(number));
            if number < 12 {
                sh("ip link set t1 up; ip link set t1 master br100");
            }
        }
        sh("ip link set br100 type bridge ageing_time 100");
        speak("p2", mac(20));
        room.heard(mac(20));
        room.unheard(mac(20));
        assert!(!format!("{:?}", room.seen).contains(&mac(3).to_string()), "PERMANENT entries are not stations");
    });
}

#[test]
fn local_macs_that_stand_before_the_start_are_told_at_once() {
    in_namespace(|| {
        sh("ip link add br100 type bridge ageing_time 30000; ip link set br100 up");
        add_port("t1", "p1");
        speak("p1", mac(1));
        sh(&format!("bridge fdb add {} dev t1 master static", mac(2)));
        let mut room = Room::new();
        room.want(&[spec(100)]);
        room.ready(100);
        let macs = room.wait("the local MACs", |event| match event {
            KernelEvent::LocalMacs { macs, .. } => Some(macs.clone()),
            _ => None,
        });
        assert_eq!(macs.iter().map(|local| (local.mac, local.is_static)).collect::<Vec<_>>(), [(mac(1), false), (mac(2), true)]);
        room.handle.send(KernelCommand::ResyncLocal);
        let again = room.wait("the local MACs again", |event| match event {
            KernelEvent::LocalMacs { macs, .. } => Some(macs.clone()),
            _ => None,
        });
        assert_eq!(macs, again);
    });
}

#[test]
fn macs_of_this_host_are_not_stations_until_they_leave_it() {
    in_namespace(|| {
        let (mut room, _) = Room::with_port();
        let own: MacAddr =
            sh("cat /proc/self/mountinfo >/dev/null; ip -br link show p1").split_whitespace().nth(2).unwrap().parse().unwrap();
        speak("p1", own);
        speak("p1", mac(1));
        room.heard(mac(1));
        assert!(!format!("{:?}", room.seen).contains(&own.to_string()));
        // A container's end of the pair leaves: the bridge tells nobody, the MAC is a station now.
        let elsewhere = Elsewhere::new();
        sh(&format!("bridge fdb replace {own} dev t1 master static"));
        sh(&format!("ip link set p1 netns {}", elsewhere.0.id()));
        assert_eq!(room.heard(own), ("t1".to_owned(), true));
        // And back.
        sh(&format!("ip link add back type veth peer name back2; ip link set back address {own}"));
        room.unheard(own);
    });
}

#[test]
fn a_local_port_takes_a_remote_mac_over_and_back() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        speak("p1", mac(1));
        assert_eq!(room.heard(mac(1)).0, "t1");
        assert!(room.row(mac(1)).unwrap().contains("dev t1 master br100"), "{:?}", room.row(mac(1)));
        // The core makes it local: the VXLAN half goes, the bridge's entry stays the port's. Both forms of delete do it.
        for self_only in [false, true] {
            let done = room.write(vec![op(ready.ifindex, OpKind::DeleteUnicast { self_only }, mac(1), "10.0.0.2")]);
            assert_eq!(done.errors, []);
            assert_eq!(fdb(mac(1)), [format!("{} dev t1 master br100", mac(1))]);
        }
        // It moves away: no end is told (the core said it), and when it comes back it is told again.
        room.write(vec![op(ready.ifindex, OpKind::ReplaceUnicast, mac(1), "10.0.0.2")]);
        assert!(
            room.listen(200).iter().all(|event| !matches!(event, KernelEvent::LocalMac(_) | KernelEvent::LocalMacGone { .. }))
        );
        // Marked in both, though a port had it: unmarked it would age out.
        assert_eq!(
            fdb(mac(1)),
            [
                format!("{} dev vxlan100 dst 10.0.0.2 self extern_learn static", mac(1)),
                format!("{} dev vxlan100 extern_learn master br100", mac(1)),
            ]
        );
        speak("p1", mac(1));
        room.heard(mac(1));
    });
}

#[test]
fn lost_notifications_lead_to_the_whole_truth() {
    in_namespace(|| {
        let mut room = Room::with_buffer(2304);
        room.want(&[spec(100)]);
        room.ready(100);
        add_port("t1", "p1");
        room.listen(100);
        let mut lines = String::new();
        for number in 0..5000 {
            writeln!(lines, "fdb add {} dev t1 master static", mac(number)).unwrap();
        }
        let path = std::env::temp_dir().join(format!("evpnd-kernel-test-{}", std::process::id()));
        std::fs::write(&path, lines).unwrap();
        sh(&format!("bridge -batch {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        room.wait("an overflow", |event| matches!(event, KernelEvent::Overflow { .. }).then_some(()));
        let mut macs = BTreeSet::new();
        let mut apply = |event: &KernelEvent| {
            match event {
                KernelEvent::LocalMacs { macs: all, .. } => macs = all.iter().map(|local| local.mac).collect(),
                KernelEvent::LocalMac(local) => {
                    macs.insert(local.mac);
                }
                KernelEvent::LocalMacGone { mac, .. } => {
                    macs.remove(mac);
                }
                _ => {}
            }
            (macs.len() == 5000).then_some(())
        };
        if !room.seen.clone().iter().any(|event| apply(event).is_some()) {
            room.wait("all of them", apply);
        }
        // Interfaces that came and went unseen are known, too.
        sh("ip link del vxlan100");
        room.ready(100);
    });
}

// ---- before the start, and figures ---------------------------------------------------------------------------------

#[test]
fn the_environment_is_looked_at_in_words() {
    in_namespace(|| {
        let check = |ip: &str| kernel::check_environment(Some(ip.parse().unwrap()));
        assert_eq!(check("10.0.0.1"), Ok(()));
        assert_eq!(check("fd00::1"), Ok(()));
        assert_eq!(kernel::check_environment(None), Ok(()));
        let error = check("192.0.2.1").unwrap_err().to_string();
        assert!(error.contains("192.0.2.1 is not on this host (it has 10.0.0.1)"), "{error}");
        assert!(!exists("evpnd-probe"));
        // Without rights (of this thread only: the system call, not the function of the C library).
        // SAFETY: takes three numbers.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        let error = check("10.0.0.1").unwrap_err().to_string();
        assert!(error.contains("CAP_NET_ADMIN"), "{error}");
        let mut room = Room::new();
        room.want(&[spec(100)]);
        let (reason, remedy) = room.unusable(100);
        assert!(reason.contains("no permission") && remedy.contains("CAP_NET_ADMIN"), "{reason}: {remedy}");
    });
}

#[test]
#[ignore = "a measurement: run it alone, with --release --ignored --nocapture"]
fn measure_writes() {
    in_namespace(|| {
        let (mut room, ready) = Room::with_port();
        let remotes: Vec<String> = (0..100).map(|n| format!("10.1.0.{n}")).collect();
        let mut figures = String::new();
        for (what, kind) in [("add", OpKind::ReplaceUnicast), ("replace", OpKind::ReplaceUnicast), ("delete", DELETE)] {
            let batches: Vec<Batch> = (0..100_000u32)
                .step_by(64)
                .map(|first| Batch {
                    id: u64::from(first),
                    ops: (first..(first + 64).min(100_000))
                        .map(|n| op(ready.ifindex, kind, mac(n), &remotes[(n as usize + what.len()) % 100]))
                        .collect(),
                })
                .collect();
            let (start, count, used) = (Instant::now(), batches.len(), cpu());
            let (mut sent, mut done) = (batches.into_iter(), 0);
            for batch in sent.by_ref().take(16) {
                room.handle.send(KernelCommand::Write(batch));
            }
            while done < count {
                room.wait("the end of a batch", |event| match event {
                    KernelEvent::BatchDone(done) => {
                        assert_eq!((done.errors.as_slice(), &done.fatal), (&[][..], &None));
                        Some(())
                    }
                    _ => None,
                });
                done += 1;
                if let Some(batch) = sent.next() {
                    room.handle.send(KernelCommand::Write(batch));
                }
            }
            let time = start.elapsed();
            let (user, system) = (cpu().0 - used.0, cpu().1 - used.1);
            let rate = 100_000.0 / time.as_secs_f64();
            let _ = writeln!(figures, "{what}: {rate:.0} rows/s ({time:?}; CPU: user {user:?}, system {system:?})");
            if what == "replace" {
                let (start, used) = (Instant::now(), cpu());
                assert_eq!(room.rows(100).len(), 100_000);
                let (user, system) = (cpu().0 - used.0, cpu().1 - used.1);
                let _ = writeln!(figures, "dump of 100,000: {:?} (CPU: user {user:?}, system {system:?})", start.elapsed());
            }
        }
        let mouth = Mouth::new("p1");
        let mut times: Vec<Duration> = (0..200)
            .map(|n| {
                let start = Instant::now();
                mouth.speak(mac(1_000_000 + n));
                room.heard(mac(1_000_000 + n));
                start.elapsed()
            })
            .collect();
        times.sort();
        println!("{figures}frame to event: p50 {:?}, p99 {:?}", times[100], times[197]);
    });
}
