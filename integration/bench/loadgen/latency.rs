//! From a guest's first frame on one host to the row on the other; then the guest's MAC speaks on the other side (a
//! move), and the clock runs until the first host's row follows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::netlink::{Netlink, SELF};
use crate::raw::{PacketSocket, in_namespace, plain_frame};
use crate::{Result, now, report};

/// `guest-a= guest-b= host-a= host-b=` (namespaces; the guests' interface is `eth0`) `count=`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let guest =
        |key| Ok::<_, Box<dyn std::error::Error>>(in_namespace(&arguments.need::<String>(key)?, || PacketSocket::open("eth0"))?);
    let host = |key| Ok::<_, Box<dyn std::error::Error>>(in_namespace(&arguments.need::<String>(key)?, || Netlink::open(true))?);
    let count: u32 = arguments.or("count", 300)?;
    let (guest_a, guest_b) = (guest("guest-a")?, guest("guest-b")?);
    let (mut host_a, mut host_b) = (host("host-a")?, host("host-b")?);
    // Warm: the first exchange pays for code and caches that later ones find ready.
    measure(&guest_a, &mut host_b, 0xfff0_0000, 5)?;
    let learned = measure(&guest_a, &mut host_b, 0, count)?;
    std::thread::sleep(Duration::from_secs(1));
    let moved = measure(&guest_b, &mut host_a, 0, count)?;
    report(&json!({"event": "latency", "learn": summary(learned, count), "move": summary(moved, count)}));
    Ok(())
}

fn measure(guest: &PacketSocket, host: &mut Netlink, first: u32, count: u32) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    for number in first..first + count {
        let [a, b, c, d] = number.to_be_bytes();
        let mac = [0x02, 0x20, a, b, c, d];
        while host.events(|_| {})? {}
        let start = now();
        guest.send(&plain_frame(mac, [0xff; 6]))?;
        let end = Instant::now() + Duration::from_secs(3);
        let mut seen = None;
        while seen.is_none() && Instant::now() < end {
            host.wait(Duration::from_millis(200));
            let mut found = false;
            while host.events(|event| {
                found |= event.mac == mac && event.flags & SELF != 0 && event.has_destination && !event.deleted;
            })? {}
            if found {
                seen = Some(now());
            }
        }
        times.extend(seen.map(|seen| seen - start));
        // An uneven beat, so that no timer of the daemon falls in step with it.
        std::thread::sleep(Duration::from_millis(20 + u64::from(number % 17)));
    }
    Ok(times)
}

fn summary(mut times: Vec<u64>, count: u32) -> Value {
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).map(|&t| t as f64 / 1e6);
    json!({"p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100), "seen": times.len(), "sent": count})
}
