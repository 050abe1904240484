//! AS_PATH (RFC 4271 §4.3, §5.1.2; RFC 6793; RFC 5065 segment types are known so that they can be refused or kept).

use crate::base::Asn;

/// One segment of an AS path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsPathSegment {
    /// Which kind.
    pub kind: AsPathSegmentKind,
    /// At least one and at most 255 numbers.
    pub asns: Vec<Asn>,
}

/// The kinds of AS_PATH segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsPathSegmentKind {
    /// 1
    Set,
    /// 2
    Sequence,
    /// 3 (RFC 5065)
    ConfedSequence,
    /// 4 (RFC 5065)
    ConfedSet,
}

/// An AS path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// Segments in the order of the wire: nearest AS first.
    pub segments: Vec<AsPathSegment>,
}
// len_for_decision(), contains(Asn), first(), prepend(Asn), Display
