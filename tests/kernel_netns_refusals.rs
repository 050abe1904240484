//! Kernels that have no nexthop groups for forwarding databases, or that refuse rows by them: on its way to the real kernel a
//! request is made one that such a kernel does not know, so that the answers are real. See `kernel_stage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "kernel_stage.rs"]
mod stage;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use evpnd::fib::{DeviceSpec, KernelEvent, Op, OpKind};
use stage::*;

/// As it is.
const ALL: u8 = 0;
/// Linux before 5.3: no nexthops.
const NO_NEXTHOPS: u8 = 1;
/// Before 5.8: none for forwarding databases.
const NONE_FOR_FDB: u8 = 2;
/// A row by group is refused, though the group stands.
const NO_ROWS: u8 = 3;

static KERNEL: AtomicU8 = AtomicU8::new(ALL);
/// One test at a time.
static TURN: Mutex<()> = Mutex::new(());

const RTM_NEXTHOPS: std::ops::RangeInclusive<u16> = 104..=106;
const NHA_FDB: u16 = 11;
const NDA_NH_ID: u16 = 13;

/// `send(2)` of this process: the kernel room's way to the kernel.
///
/// # Safety
/// That of `send(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: i32, octets: *const libc::c_void, len: usize, flags: i32) -> isize {
    // SAFETY: the caller promises `len` octets.
    let mut octets = unsafe { std::slice::from_raw_parts(octets.cast::<u8>(), len) }.to_vec();
    if KERNEL.load(Ordering::Relaxed) != ALL {
        spoil(&mut octets, KERNEL.load(Ordering::Relaxed));
    }
    // SAFETY: octets of ours with their length; no address.
    unsafe { libc::sendto(fd, octets.as_ptr().cast(), octets.len(), flags, std::ptr::null(), 0) }
}

fn spoil(octets: &mut [u8], kernel: u8) {
    let u16_at = |octets: &[u8], at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
    let mut at = 0;
    while at + 16 <= octets.len() {
        let len = u32::from_ne_bytes(octets[at..at + 4].try_into().unwrap()) as usize;
        let kind = u16_at(octets, at + 4);
        let nexthop = RTM_NEXTHOPS.contains(&kind);
        if nexthop && kernel == NO_NEXTHOPS {
            octets[at + 4..at + 6].copy_from_slice(&255_u16.to_ne_bytes());
        }
        let wanted = match kernel {
            NONE_FOR_FDB if nexthop => Some((at + 24, NHA_FDB)),
            NO_ROWS if kind == libc::RTM_NEWNEIGH => Some((at + 28, NDA_NH_ID)),
            _ => None,
        };
        if let Some((mut from, attribute)) = wanted {
            while from + 4 <= at + len {
                let size = usize::from(u16_at(octets, from));
                if u16_at(octets, from + 2) == attribute {
                    match kernel {
                        // An attribute that nobody knows; a group that nobody has.
                        NONE_FOR_FDB => octets[from + 2..from + 4].copy_from_slice(&999_u16.to_ne_bytes()),
                        _ => octets[from + 4..from + 8].copy_from_slice(&1_u32.to_ne_bytes()),
                    }
                }
                from += size.max(4).next_multiple_of(4);
            }
        }
        at += len.max(16).next_multiple_of(4);
    }
}

fn on(kernel: u8, test: impl FnOnce(Room, u32) + Send + 'static) {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    KERNEL.store(kernel, Ordering::Relaxed);
    in_namespace(|| {
        let mut room = Room::new();
        room.want(&[DeviceSpec { nexthop_groups: true, ..spec(100) }]);
        let ifindex = room.ready(100).ifindex;
        test(room, ifindex);
    });
    KERNEL.store(ALL, Ordering::Relaxed);
    drop(turn);
}

fn replace(ifindex: u32, number: u32, ip: &str) -> Op {
    op(ifindex, OpKind::ReplaceUnicast, mac(number), ip)
}

fn expect_destination(number: u32, ip: &str) {
    let mac = mac(number);
    let wanted = [
        format!("{mac} dev vxlan100 dst {ip} self extern_learn static"),
        format!("{mac} dev vxlan100 extern_learn master br100"),
    ];
    assert_eq!(fdb(mac), wanted);
}

fn nexthops() -> String {
    sh("ip nexthop show")
}

#[test]
fn without_groups_in_the_kernel_rows_carry_their_destination() {
    for kernel in [NO_NEXTHOPS, NONE_FOR_FDB] {
        on(kernel, |mut room, ifindex| {
            assert_eq!(room.write((0..100).map(|n| replace(ifindex, n, "10.0.0.2")).collect()).errors, []);
            expect_destination(0, "10.0.0.2");
            expect_destination(99, "10.0.0.2");
            assert_eq!(room.write(vec![replace(ifindex, 0, "10.0.0.3"), op(ifindex, DELETE, mac(1), "10.0.0.2")]).errors, []);
            expect_destination(0, "10.0.0.3");
            assert_eq!(room.rows(100).len(), 99);
            assert_eq!(nexthops(), "");
            room.listen(100);
            let other = |event: &KernelEvent| {
                matches!(event, KernelEvent::RowsOfOtherForm { .. } | KernelEvent::RemotesGone { .. } | KernelEvent::Fatal(_))
            };
            assert!(!room.seen.iter().any(other), "{:#?}", room.seen);
        });
    }
}

/// The kernel refuses one with EINVAL: not because the group went, so that no new one helps.
#[test]
fn a_device_that_refuses_groups_gets_destinations() {
    on(NO_ROWS, |mut room, ifindex| {
        let done = room.write((0..100).map(|n| replace(ifindex, n, "10.0.0.2")).collect());
        assert_eq!(done.errors, []);
        expect_destination(0, "10.0.0.2");
        expect_destination(99, "10.0.0.2");
        assert_eq!(room.rows(100).len(), 100);
        // It is not asked again, also where it would have them by now.
        KERNEL.store(ALL, Ordering::Relaxed);
        assert_eq!(room.write(vec![replace(ifindex, 0, "10.0.0.3"), replace(ifindex, 200, "10.0.0.3")]).errors, []);
        expect_destination(0, "10.0.0.3");
        expect_destination(200, "10.0.0.3");
        room.listen(100);
        let told = |event: &KernelEvent| matches!(event, KernelEvent::RowGone { .. } | KernelEvent::RemotesGone { .. });
        assert!(!room.seen.iter().any(told), "nobody undid anything: {:#?}", room.seen);
        // Another device starts anew, and has groups.
        room.want(&[]);
        sh("ip link del vxlan100; ip link del br100");
        room.want(&[DeviceSpec { nexthop_groups: true, ..spec(100) }]);
        let again = room.wait("the device made anew", |event| match event {
            KernelEvent::Device(evpnd::fib::DeviceState::Ready(ready)) if ready.ifindex != ifindex => Some(ready.ifindex),
            _ => None,
        });
        assert_eq!(room.write(vec![replace(again, 1, "10.0.0.2")]).errors, []);
        assert!(fdb(mac(1)).iter().any(|line| line.contains(" nhid ")), "{:?}", fdb(mac(1)));
    });
}
