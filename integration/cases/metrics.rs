//! Metrics as Prometheus scrapes them, beside clients that mean no good.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::evpnd::{Config, Evpnd, Manner, refused};
use crate::harness::fabric::{Fabric, Family, Host};
use crate::harness::raw::in_namespace;
use crate::harness::{ensure, need, patience, wait_until};

use super::scenario::{ASN, Site, VNI};

fn place(host: &Host) -> SocketAddr {
    SocketAddr::new(host.v4(), 9179)
}

fn connect(host: &Host) -> TcpStream {
    let to = place(host);
    let stream = in_namespace(host.namespace.name(), move || TcpStream::connect(to)).expect("the metrics port answers");
    stream.set_read_timeout(Some(patience(20))).unwrap();
    stream
}

/// What comes back to these octets, up to the end of the connection.
fn answer(host: &Host, octets: &[u8]) -> String {
    let mut stream = connect(host);
    stream.write_all(octets).unwrap();
    let mut text = String::new();
    // An end by force is an end as well.
    let _ = stream.read_to_string(&mut text);
    text
}

/// Every sample by its name with its labels.
fn scrape(host: &Host) -> BTreeMap<String, f64> {
    let text = answer(host, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap()).collect()
}

fn metrics(host: &Host) -> String {
    format!("listen = \"{}\"\n", place(host))
}

#[test]
fn numbers_of_a_fabric_without_root() {
    need(&[("/usr/bin/setpriv", "util-linux")]);
    let site = Site::new();
    let _reflector = Evpnd::start(&site.middle, &Config::reflector(&site.middle, ASN));
    let [a, b, _] = &site.hosts;
    let middle = site.middle.v4();
    let config = |host: &Host| {
        Config::hypervisor(host, ASN, Family::V4).neighbor(middle, "description = \"the \\\"middle\\\"\"\n").vni(VNI, "")
    };
    let manner = Manner { unprivileged: true, ..Manner::default() };
    let first = Evpnd::start_as(a, &config(a).section("metrics", &metrics(a)), &manner);
    let second = Evpnd::start(b, &config(b));
    let mut guest = site.fabric.guest(12);
    guest.plug(b, VNI);
    a.expect_remote_macs(VNI, &[(&guest, b.v4())]);

    // The page is a second old at most.
    let found = wait_until("the numbers of the fabric", 10, || {
        let found = scrape(a);
        ensure(found["evpnd_macs{place=\"remote\"}"] == 1.0 && found["evpnd_rows{state=\"in_sync\"}"] == 2.0, || {
            format!("{found:?}")
        })?;
        Ok(found)
    });
    assert_eq!(found[&format!("evpnd_neighbor_up{{neighbor=\"{middle}\"}}")], 1.0);
    assert!(
        found.keys().any(|name| name.starts_with("evpnd_neighbor_info{") && name.contains("description=\"the \\\"middle\\\"\""))
    );
    assert_eq!(found["evpnd_vni_vteps{vni=\"100\"}"], 1.0);
    // The row of the MAC and the one of the flood list, each from its UPDATE to the kernel.
    assert!(found["evpnd_update_to_kernel_seconds_count"] >= 2.0, "{found:?}");
    assert!(found["evpnd_update_to_kernel_seconds_sum"] > 0.0);
    assert_eq!(found["evpnd_update_to_kernel_seconds_bucket{le=\"+Inf\"}"], found["evpnd_update_to_kernel_seconds_count"]);
    assert!(found["evpnd_batch_rows_count"] >= 1.0 && found["process_resident_memory_bytes"] > 1e6);
    // Everything that `show status` counts, with the same numbers where nothing happens any more.
    let status = first.json(&["show", "status"]);
    for (name, count) in status["counters"].as_object().unwrap() {
        let sample = found.get(&format!("evpnd_{name}_total")).unwrap_or_else(|| panic!("no sample of {name}"));
        assert!(*sample <= count.as_f64().unwrap(), "{name}: {sample} of {count}");
    }
    [&first, &second].into_iter().for_each(|daemon| daemon.expect_no_difference());
    assert!(first.stop().success());
}

#[test]
fn clients_that_mean_no_good() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    let config = Config::router_only(&host, ASN).section("metrics", &metrics(&host));
    let daemon = Evpnd::start(&host, &config);
    for (request, status) in [
        (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], "405"),
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", "400"),
        (b"GET /metrics HTTP/2\r\n\r\n", "505"),
    ] {
        let said = answer(&host, request);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
    }
    let head = answer(&host, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(answer(&host, &[b'a'; 9000]).starts_with("HTTP/1.1 431"));

    // Sixteen who say nothing keep the others out, but not for long.
    let silent: Vec<TcpStream> = (0..16).map(|_| connect(&host)).collect();
    wait_until("the seventeenth is turned away", 10, || {
        let said = answer(&host, b"GET /metrics HTTP/1.1\r\n\r\n");
        ensure(said.is_empty(), || said)
    });
    let counter = |name: &str| daemon.json(&["show", "status"])["counters"][name].as_u64().unwrap_or_default();
    assert!(counter("speaker_metrics_connections_refused") >= 1);
    // The daemon lets them go after 10 s; they hold on.
    wait_until("there is room again", 30, || {
        let said = answer(&host, b"GET /metrics HTTP/1.1\r\n\r\n");
        ensure(said.starts_with("HTTP/1.1 200"), || said)
    });
    assert!(counter("speaker_metrics_slow_closed") >= 1);
    assert_eq!(counter("speaker_metrics_requests_refused"), 5);
    drop(silent);
    // A crowd in a hurry gets one page a second, and the loop goes on.
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        assert!(answer(&host, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    }
    assert!(begun.elapsed() < patience(20), "{:?}", begun.elapsed());
    assert!(daemon.stop().success());
}

#[test]
fn a_port_that_is_taken_is_refused_in_words() {
    let fabric = Fabric::new();
    let host = fabric.host(1);
    let to = place(&host);
    let _other = in_namespace(host.namespace.name(), move || std::net::TcpListener::bind(to)).unwrap();
    let (status, said) = refused(&host, &Config::router_only(&host, ASN).section("metrics", &metrics(&host)));
    assert!(
        !status.success() && said.contains("another program listens on 10.0.0.1:9179") && said.contains("[metrics]"),
        "{said}"
    );
}
