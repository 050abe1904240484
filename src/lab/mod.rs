//! lab
pub mod announce;
pub mod capture;
pub mod fdb;
pub mod links;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod ping;
pub mod signals;

/// An error with what was being done in front.
pub(crate) fn failed(what: impl std::fmt::Display, error: impl Into<std::io::Error>) -> std::io::Error {
    let error = error.into();
    std::io::Error::new(error.kind(), format!("{what}: {error}"))
}
