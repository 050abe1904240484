//! The cases, by what they are about.

mod harness_itself;
