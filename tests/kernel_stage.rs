//! The stage for tests of the kernel room: a namespace, a room in it, and what people would type to look.
//!
//! Needs root (and `ip`, `bridge` of iproute2). Without it the tests fail and say so: a test that passes by not running
//! is no test. Used by `kernel_netns*.rs`.

#![allow(
    dead_code,
    missing_docs,
    clippy::new_without_default,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evpnd::base::{MacAddr, Vni};
use evpnd::fib::{
    Batch, BatchDone, DeviceSpec, DeviceState, KernelCommand, KernelEvent, KernelRow, Op, OpKind, ReadyDevice, Remote,
};
use evpnd::kernel::{self, KernelHandle, KernelOptions};

/// Runs `test` on a thread in a new network namespace, with an underlay: `u0` with 10.0.0.1 and fd00::1, MTU 1500.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
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
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).stderr(Stdio::piped()).output().expect("sh runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace to move interfaces to; it lasts as long as the value.
pub struct Elsewhere(pub Child);

impl Elsewhere {
    pub fn new() -> Self {
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

pub struct Room {
    pub handle: KernelHandle,
    woken: Receiver<()>,
    pub seen: Vec<KernelEvent>,
}

impl Room {
    pub fn new() -> Self {
        Self::with_buffer(128 << 20)
    }

    pub fn with_buffer(receive_buffer: usize) -> Self {
        Self::gated(receive_buffer, &Arc::default())
    }

    /// A room whose thread waits, when it has told something, while the gate is locked.
    pub fn gated(receive_buffer: usize, gate: &Arc<Mutex<()>>) -> Self {
        let (sender, woken) = sync_channel(1);
        let gate = Arc::clone(gate);
        let wake = Box::new(move || {
            let _ = sender.try_send(());
            drop(gate.lock());
        });
        let handle = kernel::start(KernelOptions { receive_buffer, wake }).unwrap();
        Self { handle, woken, seen: Vec::new() }
    }

    pub fn want(&self, specs: &[DeviceSpec]) {
        self.handle.send(KernelCommand::Devices(specs.to_vec()));
    }

    /// The first event, from now on, that `pick` takes.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&KernelEvent) -> Option<T>) -> T {
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
    pub fn listen(&mut self, millis: u64) -> Vec<KernelEvent> {
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

    pub fn ready(&mut self, number: u32) -> ReadyDevice {
        self.wait("a ready device", |event| match event {
            KernelEvent::Device(DeviceState::Ready(ready)) if ready.vni == vni(number) => Some(ready.clone()),
            KernelEvent::Device(DeviceState::Unusable { vni: other, reason, remedy }) if *other == vni(number) => {
                panic!("unusable: {reason}: {remedy}")
            }
            _ => None,
        })
    }

    pub fn unusable(&mut self, number: u32) -> (String, String) {
        self.wait("a refusal", |event| match event {
            KernelEvent::Device(DeviceState::Unusable { vni: other, reason, remedy }) if *other == vni(number) => {
                Some((reason.clone(), remedy.clone()))
            }
            _ => None,
        })
    }

    pub fn write(&mut self, ops: Vec<Op>) -> BatchDone {
        let id = self.seen.len() as u64 + 1;
        self.handle.send(KernelCommand::Write(Batch { id, ops }));
        self.wait("the end of a batch", |event| match event {
            KernelEvent::BatchDone(done) if done.id == id => Some(done.clone()),
            _ => None,
        })
    }

    pub fn rows(&mut self, number: u32) -> Vec<KernelRow> {
        self.handle.send(KernelCommand::Dump { token: 9, vni: vni(number), at_most: usize::MAX });
        self.wait("rows", |event| match event {
            KernelEvent::Rows { token: 9, rows, .. } => Some(rows.clone().unwrap()),
            _ => None,
        })
    }

    pub fn row(&mut self, mac: MacAddr) -> Option<String> {
        self.handle.send(KernelCommand::GetRow { token: 7, vni: vni(100), mac });
        self.wait("a row", |event| match event {
            KernelEvent::Row { token: 7, row } => Some(row.clone()),
            _ => None,
        })
    }

    pub fn heard(&mut self, mac: MacAddr) -> (String, bool) {
        self.wait(&format!("local MAC {mac}"), |event| match event {
            KernelEvent::LocalMac(local) if local.mac == mac => Some((local.port_name.clone(), local.is_static)),
            KernelEvent::LocalMacs { macs, .. } => {
                macs.iter().find(|local| local.mac == mac).map(|local| (local.port_name.clone(), local.is_static))
            }
            _ => None,
        })
    }

    pub fn unheard(&mut self, mac: MacAddr) {
        self.wait(&format!("the end of local MAC {mac}"), |event| match event {
            KernelEvent::LocalMacGone { mac: other, .. } if *other == mac => Some(()),
            _ => None,
        });
    }

    pub fn device_gone(&mut self) -> String {
        self.wait("a device's end", |event| match event {
            KernelEvent::DeviceGone { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    /// A ready VNI 100 with a tenant's port `t1`, whose other end is `p1`.
    pub fn with_port() -> (Self, ReadyDevice) {
        Self::new().and_port()
    }

    pub fn and_port(mut self) -> (Self, ReadyDevice) {
        self.want(&[spec(100)]);
        let ready = self.ready(100);
        self.wait("the local MACs", |event| matches!(event, KernelEvent::LocalMacs { .. }).then_some(()));
        add_port("t1", "p1");
        (self, ready)
    }

    /// Does something while the thread of a gated room is held up, and has it write these rows then, before it reads what the
    /// kernel told meanwhile.
    pub fn write_late(&mut self, gate: &Mutex<()>, ops: Vec<Op>, meanwhile: impl FnOnce()) -> BatchDone {
        let held = gate.lock().unwrap();
        // It tells this, and then waits for the gate.
        self.row(MacAddr::ZERO);
        meanwhile();
        let id = u64::MAX;
        self.handle.send(KernelCommand::Write(Batch { id, ops }));
        drop(held);
        self.wait("the end of a batch", |event| match event {
            KernelEvent::BatchDone(done) if done.id == id => Some(done.clone()),
            _ => None,
        })
    }
}

pub fn add_port(port: &str, peer: &str) {
    sh(&format!("ip link add {port} type veth peer name {peer}"));
    for name in [port, peer] {
        sh(&format!("ip link set {name} addrgenmode none; ip link set {name} up"));
    }
    sh(&format!("ip link set {port} master br100"));
}

pub fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

pub fn spec(number: u32) -> DeviceSpec {
    DeviceSpec::new(vni(number), [10, 0, 0, 1].into())
}

pub fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0xee, a, b, c, d])
}

pub fn op(ifindex: u32, kind: OpKind, mac: MacAddr, ip: &str) -> Op {
    Op { ifindex, kind, mac, remote: Remote { ip: ip.parse().unwrap(), vni: None } }
}

pub const DELETE: OpKind = OpKind::DeleteUnicast { self_only: false };

/// `bridge fdb` lines of one MAC, sorted.
pub fn fdb(mac: MacAddr) -> Vec<String> {
    let mut lines: Vec<String> =
        sh("bridge fdb show").lines().filter(|line| line.contains(&mac.to_string())).map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

/// Waits until a line of [`fdb`] says something.
pub fn wait_for_fdb(mac: MacAddr, words: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while !fdb(mac).iter().any(|line| line.contains(words)) {
        assert!(Instant::now() < end, "no \"{words}\" in {:?}", fdb(mac));
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn link(name: &str) -> String {
    sh(&format!("ip -d link show {name}"))
}

pub fn exists(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().unwrap().status.success()
}

/// Processor time of this process so far: user, system.
pub fn cpu() -> (Duration, Duration) {
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
pub fn speak(interface: &str, source: MacAddr) {
    Mouth::new(interface).speak(source);
}

/// A packet socket on an interface. Closing one waits for a grace period of the kernel, some 16 ms: keep it to measure.
pub struct Mouth(std::os::fd::OwnedFd, libc::sockaddr_ll);

impl Mouth {
    pub fn new(interface: &str) -> Self {
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

    pub fn speak(&self, source: MacAddr) {
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

/// A room with VNI 100 and a tenant: `t0` (192.0.2.9, 2001:db8::9) in another namespace, its other end in the bridge.
pub fn with_tenant(test: impl FnOnce(&mut Room, u32, u32, &dyn Fn(&str) -> String) + Send + 'static) {
    with_tenant_of(spec(100), test);
}

/// The same, of a VNI like this.
pub fn with_tenant_of(spec: DeviceSpec, test: impl FnOnce(&mut Room, u32, u32, &dyn Fn(&str) -> String) + Send + 'static) {
    in_namespace(move || {
        let tenant = Elsewhere::new();
        let pid = tenant.0.id();
        let mut room = Room::new();
        room.want(&[spec]);
        let ready = room.ready(100);
        sh(&format!("ip link add p0 type veth peer name t0; ip link set t0 netns {pid}; ip link set p0 master br100 up"));
        let inside = move |line: &str| sh(&format!("nsenter -t {pid} -n sh -ec '{line}'"));
        inside("ip link set lo up; ip link set t0 up; ip addr add 192.0.2.9/24 dev t0; ip addr add 2001:db8::9/64 dev t0 nodad");
        test(&mut room, ready.ifindex, ready.bridge_ifindex, &inside);
    });
}

/// What `disable_ipv6` of an interface is.
pub fn disabled(name: &str) -> String {
    sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/disable_ipv6")).trim().to_owned()
}
