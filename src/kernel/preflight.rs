//! Before the first step: what of the wanted devices can never work as the host stands.

use crate::fib::DeviceSpec;

use super::devices::{self, Circumstances};
use super::links::Links;
use super::request::Requests;
use super::{KernelError, follow};

/// Judges every wanted device against the host's interfaces and makes nothing. For the start only: at run time a refusal
/// of one device leaves the others alone.
///
/// # Errors
/// The first device that cannot be used, why, and what to do.
pub fn check_devices(specs: &[DeviceSpec]) -> Result<(), KernelError> {
    if specs.is_empty() {
        return Ok(());
    }
    let fail = |reason: String| KernelError { reason, remedy: "allow AF_NETLINK to evpnd".to_owned() };
    let mut requests = Requests::open().map_err(|error| fail(format!("no netlink socket can be opened: {error}")))?;
    let mut links = Links::default();
    follow::read_links(&mut requests, &mut links)
        .map_err(|said| fail(format!("the interfaces of this host cannot be read: {}", said.text)))?;
    let wanted = |vni| specs.iter().any(|spec| spec.vni == vni);
    for spec in specs {
        if let Err(refusal) = devices::judge(spec, &links, &wanted, &Circumstances::default()) {
            return Err(KernelError { reason: format!("VNI {}: {}", spec.vni, refusal.reason), remedy: refusal.remedy });
        }
    }
    Ok(())
}
