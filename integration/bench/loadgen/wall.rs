//! The wall: how fast this kernel takes FDB rows from one thread, both FDBs in one request, 4 KiB a send. No daemon can
//! be faster, so what a daemon needs beside it is its own.

use serde_json::json;

use crate::arguments::Arguments;
use crate::netlink::{Batch, Netlink};
use crate::table::{Shape, mac};
use crate::{Result, now, report};

/// `macs= vnis= vteps=`: the devices `vxlanN` must stand in its namespace.
pub fn run(arguments: &Arguments) -> Result<()> {
    let shape = Shape::from_arguments(arguments)?;
    let mut netlink = Netlink::open(false)?;
    for delete in [false, true] {
        let mut batch = Batch::default();
        let mut refused = 0;
        let start = now();
        for (vtep, vni, macs) in shape.pairs() {
            let ifindex = index(vni)?;
            for number in macs {
                batch.push(delete, ifindex, mac(number), vtep.octets());
                if batch.len() > 4096 - 48 {
                    batch.close();
                    refused += netlink.send_batch(&batch)?;
                    batch.clear();
                }
            }
        }
        if batch.len() > 0 {
            batch.close();
            refused += netlink.send_batch(&batch)?;
        }
        let seconds = (now() - start) as f64 / 1e9;
        let event = if delete { "deleted" } else { "added" };
        report(&json!({"event": event, "seconds": seconds, "per_second": f64::from(shape.macs) / seconds, "refused": refused}));
    }
    Ok(())
}

fn index(vni: u32) -> Result<u32> {
    let name = std::ffi::CString::new(format!("vxlan{vni}"))?;
    // SAFETY: a NUL-terminated name that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(format!("no device vxlan{vni} here").into()),
        index => Ok(index),
    }
}
