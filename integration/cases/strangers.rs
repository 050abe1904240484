//! Peers that are wrong: another AS than configured, or no BGP at all. What others have is untouched.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::evpnd::{Config, Evpnd};
use crate::harness::fabric::Family;
use crate::harness::raw::in_namespace;
use crate::harness::{ensure, patience, wait_until};
use crate::interop::frr;

use super::scenario::{ASN, Site, VNI};

#[test]
fn a_wrong_as_is_said_in_words() {
    let site = Site::new();
    let [a, b, _] = &site.hosts;
    let _frr = frr::Frr::start(b, frr::Role::Reflector, 65099, &[frr::Neighbor::new(a.v4(), ASN)]);
    let daemon = Evpnd::start(a, &Config::hypervisor(a, ASN, Family::V4).neighbor(b.v4(), "").vni(VNI, ""));
    wait_until("a reason in show neighbors", 15, || {
        let neighbor = daemon.neighbor(b.v4());
        let reason = neighbor["last_error"].as_str().unwrap_or_default().to_owned();
        ensure(reason.contains("AS") && reason.contains("65099"), || format!("{neighbor}"))
    });
    assert_ne!(daemon.neighbor(b.v4())["state"], "established");
    daemon.expect_no_difference();
}

/// Octets that no BGP speaker sends, in every state that a connection can be in.
#[test]
fn a_peer_that_sends_garbage_touches_nobody_else() {
    let site = Site::new();
    let reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let daemons = site.hypervisors(Family::V4, |_| ASN, ASN);
    let [a, b, c] = &site.hosts;
    let guests = site.guests();
    let rows_stand = || {
        a.expect_remote_macs(VNI, &[(&guests[1], b.v4()), (&guests[2], c.v4())]);
        b.expect_remote_macs(VNI, &[(&guests[0], a.v4()), (&guests[2], c.v4())]);
    };
    rows_stand();
    let stranger = site.fabric.host(66);
    let server = SocketAddr::new(site.middle.v4(), 179);
    let open = [
        &[0xff; 16][..],
        &[0, 45, 1, 4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 66, 16, 2, 14, 1, 4, 0, 25, 0, 70, 65, 4, 0, 0, 0xfd, 0xe8, 2, 0],
    ]
    .concat();
    let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
    let message = |kind: u8, body: &[u8]| [&[0xff; 16][..], &((19 + body.len()) as u16).to_be_bytes(), &[kind], body].concat();
    let noise: Vec<u8> = (0..4000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let established = [&open[..], &keepalive[..]].concat();
    let after = |octets: Vec<u8>| [&established[..], &octets[..]].concat();
    let attempts = vec![
        noise.clone(),
        vec![0xff; 5000],
        message(9, &[]),
        message(1, &noise[..200]),
        open[..30].to_vec(),
        after(noise.clone()),
        after(message(2, &noise[..300])),
        after(message(2, &[0xff, 0xff, 0, 0])),
        // MP_REACH whose NLRI runs over its end, and one that claims 200 octets of next hop.
        after(message(2, &[0, 0, 0, 14, 0x80, 14, 11, 0, 25, 70, 4, 10, 0, 0, 66, 0, 2, 33])),
        after(message(2, &[0, 0, 0, 9, 0x80, 14, 6, 0, 25, 70, 200, 1, 2])),
        // A type 2 whose inside is nonsense and whose length is not.
        after(message(2, &[&[0, 0, 0, 45, 0x80, 14, 42, 0, 25, 70, 4, 10, 0, 0, 66, 0, 2, 31][..], &[0xee; 31]].concat())),
        after(message(5, &[0, 1, 0, 1])),
    ];
    for (number, octets) in attempts.into_iter().enumerate() {
        let answer = in_namespace(stranger.namespace.name(), move || {
            let mut stream = TcpStream::connect_timeout(&server, patience(5))?;
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            stream.write_all(&octets)?;
            let mut answer = vec![0; 4096];
            let mut len = 0;
            // The answer ends with a NOTIFICATION, a reset, or patience (half an OPEN is only half an OPEN).
            while let Ok(got @ 1..) = stream.read(&mut answer[len..]) {
                len += got;
            }
            let _ = stream.shutdown(Shutdown::Both);
            answer.truncate(len);
            Ok(answer)
        });
        // A reset instead of an answer is an answer too.
        if let Ok(answer) = answer {
            assert!(answer.is_empty() || answer.starts_with(&[0xff; 16]), "attempt {number} got {answer:02x?}");
        }
    }
    rows_stand();
    guests[0].expect_ping(&guests[1]);
    for (host, daemon) in site.hosts.iter().zip(&daemons) {
        let neighbor = reflector.neighbor(host.v4());
        assert_eq!((&neighbor["state"], &neighbor["established_count"]), (&"established".into(), &1.into()), "{neighbor}");
        daemon.expect_no_difference();
    }
}
