//! Many clients of a reflector in one process: each counts the routes it hears until it has all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::arguments::Arguments;
use crate::bgp::{self, Heard};
use crate::{Lines, Result, now, poll, report};

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    heard: Heard,
    greeted: bool,
    complete: Option<u64>,
}

/// `peer= asn= clients= first-local= expect=`: session n comes from the n-th address after `first-local`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let peer = SocketAddr::new(arguments.need("peer")?, arguments.or("port", 179)?);
    let (count, asn): (u32, u32) = (arguments.need("clients")?, arguments.or("asn", 65000)?);
    let first: Ipv4Addr = arguments.need("first-local")?;
    let expect: u64 = arguments.need("expect")?;
    let mut clients = Vec::new();
    for number in 0..count {
        let local = Ipv4Addr::from(u32::from(first) + number);
        let mut stream = bgp::connect(IpAddr::V4(local), peer, Duration::from_secs(60))?;
        stream.write_all(&bgp::open(asn, local))?;
        clients.push(Client {
            stream,
            buffer: vec![0; 1 << 17],
            filled: 0,
            heard: Heard::default(),
            greeted: false,
            complete: None,
        });
    }
    let mut lines = Lines::default();
    let mut keepalive = Instant::now();
    let (mut established, mut complete) = (false, false);
    let mut first_heard = None;
    let mut descriptors: Vec<libc::pollfd> =
        clients.iter().map(|client| libc::pollfd { fd: client.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    descriptors.push(libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 });
    loop {
        poll(&mut descriptors, Duration::from_millis(500))?;
        if descriptors[clients.len()].revents != 0 {
            lines.read();
        }
        for (client, descriptor) in clients.iter_mut().zip(&descriptors) {
            if descriptor.revents != 0 {
                client.take(expect)?;
                if client.heard.reach > 0 && first_heard.is_none() {
                    first_heard = Some(now());
                }
            }
        }
        while let Some(line) = lines.next() {
            match line.as_str() {
                "quit" => return Ok(()),
                // Where everyone stands, for the driver that grew impatient.
                "count" => {
                    let counts: Vec<u64> = clients.iter().map(|client| client.heard.reach).collect();
                    report(&json!({"event": "count", "least": counts.iter().min(), "most": counts.iter().max()}));
                }
                _ => return Err(format!("no command {line:?}").into()),
            }
        }
        if keepalive.elapsed() > Duration::from_secs(20) {
            keepalive = Instant::now();
            for client in &mut clients {
                client.stream.write_all(&bgp::message(bgp::KEEPALIVE, &[]))?;
            }
        }
        if !established && clients.iter().all(|client| client.heard.keepalive) {
            established = true;
            report(&json!({"event": "established", "at": now(), "clients": count}));
        }
        if !complete && clients.iter().all(|client| client.complete.is_some()) {
            complete = true;
            let times: Vec<u64> = clients.iter().filter_map(|client| client.complete).collect();
            let more = clients.iter().filter(|client| client.heard.reach > expect).count();
            report(
                &json!({"event": "complete", "first": first_heard, "first_complete": times.iter().min(), "last": times.iter().max(),
                "clients_with_more": more, "user_seconds": used().0, "system_seconds": used().1}),
            );
        }
    }
}

impl Client {
    fn take(&mut self, expect: u64) -> Result<()> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Err("the peer has closed a connection".into()),
            Ok(len) => self.filled += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let taken = bgp::read(&self.buffer[..self.filled], &mut self.heard);
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        if let Some((code, subcode)) = self.heard.notification {
            return Err(format!("the peer sent NOTIFICATION {code}/{subcode}").into());
        }
        if self.heard.open && !self.greeted {
            self.greeted = true;
            self.stream.write_all(&bgp::message(bgp::KEEPALIVE, &[]))?;
        }
        if self.heard.reach >= expect && self.complete.is_none() {
            self.complete = Some(now());
        }
        Ok(())
    }
}

/// CPU seconds of this process so far, user and system: a receiver that is busy all the time would be what is measured.
fn used() -> (f64, f64) {
    // SAFETY: rusage is plain data, and lives through the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}
