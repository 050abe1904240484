//! One iBGP session that holds a table and sends it, or its withdrawal, as fast as the peer takes it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::arguments::Arguments;
use crate::bgp::{self, Heard};
use crate::table::{self, Shape};
use crate::{Lines, Result, now, poll, report};

/// `local= peer= asn= id= macs= vnis= vteps=`; then `load`, `withdraw`, `heard N`, `quit` on standard input.
pub fn run(arguments: &Arguments) -> Result<()> {
    let shape = Shape::from_arguments(arguments)?;
    let (local, peer): (IpAddr, IpAddr) = (arguments.need("local")?, arguments.need("peer")?);
    let identifier: Ipv4Addr = arguments.need("id")?;
    let (announcements, withdrawals) = (table::announcements(shape), table::withdrawals(shape));
    let server = SocketAddr::new(peer, arguments.or("port", 179)?);
    let end = Instant::now() + Duration::from_secs(60);
    // A daemon that listens before it has read its configuration hangs up: try again.
    let mut session = loop {
        match Session::begin(local, server, &bgp::open(shape.asn, identifier)) {
            Ok(session) => break session,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    report(&json!({"event": "established", "at": now(), "routes": shape.routes(), "octets": announcements.len()}));

    let mut lines = Lines::default();
    let mut keepalive = Instant::now();
    loop {
        if keepalive.elapsed() > Duration::from_secs(20) {
            session.write(&bgp::message(bgp::KEEPALIVE, &[]))?;
            keepalive = Instant::now();
        }
        session.wait(false, Some(&mut lines))?;
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let octets = match words[..] {
                ["load"] => &announcements,
                ["withdraw"] => &withdrawals,
                // How many routes the peer has told us: it is ready when it has told its own.
                ["heard", number] => {
                    let wanted: u64 = number.parse()?;
                    session.read_until("routes", |heard| heard.reach >= wanted)?;
                    report(&json!({"event": "heard", "at": now(), "routes": session.heard.reach}));
                    continue;
                }
                ["quit"] => return Ok(()),
                _ => return Err(format!("no command {line:?}").into()),
            };
            let first = now();
            session.write(octets)?;
            report(&json!({"event": line, "first": first, "last": now()}));
        }
    }
}

struct Session {
    stream: TcpStream,
    buffer: Vec<u8>,
    heard: Heard,
}

impl Session {
    fn begin(local: IpAddr, server: SocketAddr, open: &[u8]) -> Result<Self> {
        let stream = bgp::connect(local, server, Duration::from_secs(60))?;
        let mut session = Self { stream, buffer: Vec::new(), heard: Heard::default() };
        session.write(open)?;
        session.read_until("OPEN", |heard| heard.open)?;
        session.write(&bgp::message(bgp::KEEPALIVE, &[]))?;
        session.read_until("KEEPALIVE", |heard| heard.keepalive)?;
        Ok(session)
    }

    /// Waits for octets from the peer (or room for ours, or a command) and takes in what has come.
    fn wait(&mut self, writable: bool, lines: Option<&mut Lines>) -> Result<()> {
        let events = libc::POLLIN | if writable { libc::POLLOUT } else { 0 };
        let mut descriptors = [
            libc::pollfd { fd: self.stream.as_raw_fd(), events, revents: 0 },
            libc::pollfd { fd: if lines.is_some() { 0 } else { -1 }, events: libc::POLLIN, revents: 0 },
        ];
        poll(&mut descriptors, Duration::from_millis(500))?;
        if let (Some(lines), true) = (lines, descriptors[1].revents != 0) {
            lines.read();
        }
        let mut some = [0; 65536];
        loop {
            match self.stream.read(&mut some) {
                Ok(0) => return Err("the peer has closed the connection".into()),
                Ok(len) => self.buffer.extend_from_slice(&some[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let taken = bgp::read(&self.buffer, &mut self.heard);
        self.buffer.drain(..taken);
        match self.heard.notification {
            Some((code, subcode)) => Err(format!("the peer sent NOTIFICATION {code}/{subcode}").into()),
            None => Ok(()),
        }
    }

    fn read_until(&mut self, what: &str, enough: impl Fn(&Heard) -> bool) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(120);
        while !enough(&self.heard) {
            if Instant::now() > end {
                return Err(format!("no {what} from the peer: {:?}", self.heard).into());
            }
            self.wait(false, None)?;
        }
        Ok(())
    }

    fn write(&mut self, mut octets: &[u8]) -> Result<()> {
        while !octets.is_empty() {
            match self.stream.write(octets) {
                Ok(len) => octets = &octets[len..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(true, None)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
