//! Two other codecs look at what ours says, over generated values.
//!
//! `netgauze` is the main oracle: what we emit it reads to the same values, and what it emits of them we read to the same values.
//! `zettabgp` is the second opinion where it is right; where it is not, a test pins what it does, so that the day upstream mends
//! it is seen. zettabgp gets values that we made, never random octets: 100 of them can make it allocate for ever.
//! The evidence is told in `docs/decisions/0001-codec.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod netgauze;
mod values;
mod zettabgp_;
