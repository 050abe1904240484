//! Floor 5, rim: a fabric of network namespaces on one machine, for people, for demos and for integration tests.
//!
//! It needs root or an unprivileged user namespace, and nothing else installed: links, pings and captures are our own.
//! All of it is blocking and synchronous.
//!
//! The pieces are a small library by themselves:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`netns`] | namespaces: make, name, run something inside; the user namespace |
//! | [`links`] | bridges, veth pairs, addresses (`ip link`, `ip address`) |
//! | [`fdb`] | forwarding rows and a watch on them (`bridge fdb`, `bridge monitor fdb`) |
//! | [`ping`] | echo over IPv4 and IPv6: one, many, endless |
//! | [`announce`] | gratuitous ARP and unsolicited neighbour advertisement |
//! | [`capture`], [`packet`] | what left an interface, and what it was |
//! | [`process`] | daemons that do not outlive the lab |
//! | [`client`] | the control socket of a daemon |
//!
//! and the lab is made of them: [`plan`] (names and numbers) → [`fabric`] (made real) → [`settle`] (what to wait for)
//! → [`demo`] (the story), [`commands`] (up, status, exec, down), [`state`] (what must be removed again).
//!
//! A test that wants a lab of its own, with real daemons and without a story:
//!
//! ```no_run
//! use std::time::Duration;
//! use evpnd::lab::{LabOptions, fabric::{Fabric, Names, Setting}, plan::Plan, reach, settle};
//!
//! # fn main() -> anyhow::Result<()> {
//! let setting = Setting { directory: "/tmp/my-lab".into(), evpnd: "target/debug/evpnd".into(), names: Names::None };
//! let mut fabric = Fabric::build(Plan::new(&LabOptions::default())?, setting)?;
//! fabric.start_reflector()?;
//! fabric.start_hypervisors()?;
//! settle::settle(&mut fabric, Duration::from_secs(20), |_| Ok(()), settle::members)?;
//! (0..fabric.guests.len()).try_for_each(|guest| fabric.attach(guest))?;
//! settle::settle(&mut fabric, Duration::from_secs(20), |_| Ok(()), settle::rows)?;
//! assert_eq!(reach::failures(&reach::measure(&fabric.guests, Duration::from_secs(10))?), 0);
//! # Ok(())
//! # } // dropped: everything is gone
//! ```

pub mod announce;
pub mod capture;
pub mod client;
pub mod commands;
pub mod demo;
pub mod fabric;
pub mod fdb;
#[cfg(test)]
mod handmade;
pub mod links;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod ping;
pub mod plan;
pub mod process;
pub mod reach;
pub mod reflector;
pub mod screen;
pub mod settle;
pub mod signals;
pub mod state;
pub mod story;

pub use commands::{LabCommand, run};
pub use plan::LabOptions;

/// An error with what was being done in front.
pub(crate) fn failed(what: impl std::fmt::Display, error: impl Into<std::io::Error>) -> std::io::Error {
    let error = error.into();
    std::io::Error::new(error.kind(), format!("{what}: {error}"))
}
