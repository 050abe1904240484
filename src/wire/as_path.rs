//! AS_PATH (RFC 4271 §4.3, §5.1.2; RFC 6793; RFC 5065 segment types are known so that they can be refused or kept).
//!
//! ```text
//! segments, each: type (1) | count (1) | AS numbers (2 or 4 octets each)
//! ```

use std::fmt;

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

/// The most numbers of one segment.
const MAX_SEGMENT: usize = 255;

impl AsPathSegmentKind {
    const fn number(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    /// Whether it is one of RFC 5065's, which never leave a confederation.
    pub const fn is_confederation(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

impl AsPathSegment {
    /// What it adds to the length (RFC 4271 §9.1.2.2 a: a set counts 1; RFC 5065 §5.3: confederation segments count 0).
    fn decision_len(&self) -> usize {
        match self.kind {
            AsPathSegmentKind::Sequence => self.asns.len(),
            AsPathSegmentKind::Set => 1,
            AsPathSegmentKind::ConfedSequence | AsPathSegmentKind::ConfedSet => 0,
        }
    }
}

impl AsPath {
    /// A path of one sequence; empty where `asns` is.
    pub fn sequence(asns: &[Asn]) -> Self {
        let segment = |asns: &[Asn]| AsPathSegment { kind: AsPathSegmentKind::Sequence, asns: asns.to_vec() };
        Self { segments: asns.chunks(MAX_SEGMENT).map(segment).collect() }
    }

    /// Reads the value of the attribute. The errors are those of RFC 7606 §7.2 and, for AS 0, RFC 7607 §2.
    pub fn parse(value: &[u8], four_octet_as: bool) -> Result<Self, &'static str> {
        let mut path = Self::default();
        let mut rest = value;
        while let Some((&kind, after)) = rest.split_first() {
            let kind = match kind {
                1 => AsPathSegmentKind::Set,
                2 => AsPathSegmentKind::Sequence,
                3 => AsPathSegmentKind::ConfedSequence,
                4 => AsPathSegmentKind::ConfedSet,
                _ => return Err("unknown AS path segment type"),
            };
            let (&count, after) = after.split_first().ok_or("one stray octet after the last AS path segment")?;
            if count == 0 {
                return Err("AS path segment without AS numbers");
            }
            let len = usize::from(count) * if four_octet_as { 4 } else { 2 };
            let (numbers, after) = after.split_at_checked(len).ok_or("AS path segment runs past the attribute's end")?;
            let asns: Vec<Asn> = if four_octet_as {
                numbers.as_chunks().0.iter().map(|octets| Asn(u32::from_be_bytes(*octets))).collect()
            } else {
                numbers.as_chunks().0.iter().map(|octets| Asn(u32::from(u16::from_be_bytes(*octets)))).collect()
            };
            if asns.contains(&Asn(0)) {
                return Err("AS number 0 in the AS path");
            }
            path.segments.push(AsPathSegment { kind, asns });
            rest = after;
        }
        Ok(path)
    }

    /// Appends the value. `four_octet_as = false` puts 23456 for what does not fit (RFC 6793 §4.2.2).
    /// A segment of more than 255 numbers, which cannot be read but built, becomes several.
    pub fn emit(&self, out: &mut Vec<u8>, four_octet_as: bool) {
        for segment in &self.segments {
            for asns in segment.asns.chunks(MAX_SEGMENT) {
                out.extend_from_slice(&[segment.kind.number(), asns.len() as u8]);
                for asn in asns {
                    if four_octet_as {
                        out.extend_from_slice(&asn.0.to_be_bytes());
                    } else {
                        out.extend_from_slice(&asn.in_two_octets().to_be_bytes());
                    }
                }
            }
        }
    }

    /// The length that the decision compares (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3).
    pub fn decision_len(&self) -> usize {
        self.segments.iter().map(AsPathSegment::decision_len).sum()
    }

    /// Whether the AS is anywhere in the path: a loop, if it is ours (RFC 4271 §9.1.2).
    pub fn contains(&self, asn: Asn) -> bool {
        self.segments.iter().any(|segment| segment.asns.contains(&asn))
    }

    /// The AS that the path came from: the leftmost of the first sequence, confederation segments left out (RFC 4271 §9.1.2.2 c,
    /// RFC 5065 §5.3). `None` for an empty path and one that begins with a set.
    pub fn neighbor_as(&self) -> Option<Asn> {
        let first = self.segments.iter().find(|segment| !segment.kind.is_confederation())?;
        if first.kind == AsPathSegmentKind::Sequence { first.asns.first().copied() } else { None }
    }

    /// Puts an AS before all others (RFC 4271 §5.1.2 b).
    pub fn prepend(&mut self, asn: Asn) {
        match self.segments.first_mut() {
            Some(first) if first.kind == AsPathSegmentKind::Sequence && first.asns.len() < MAX_SEGMENT => {
                first.asns.insert(0, asn)
            }
            _ => self.segments.insert(0, AsPathSegment { kind: AsPathSegmentKind::Sequence, asns: vec![asn] }),
        }
    }

    /// Whether it has no segment: a route of this AS.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether a segment of RFC 5065 is in it.
    pub fn has_confederation(&self) -> bool {
        self.segments.iter().any(|segment| segment.kind.is_confederation())
    }

    /// Whether every number fits 2 octets, so that no AS4_PATH is needed (RFC 6793 §4.2.2).
    pub fn fits_two_octets(&self) -> bool {
        self.segments.iter().flat_map(|segment| &segment.asns).all(|asn| asn.0 <= 0xffff)
    }

    /// The path without the segments of RFC 5065: what an AS4_PATH may hold (RFC 6793 §3).
    pub fn without_confederation(&self) -> Self {
        Self { segments: self.segments.iter().filter(|segment| !segment.kind.is_confederation()).cloned().collect() }
    }

    /// The true path, from AS_PATH and AS4_PATH of a 2-octet peer (RFC 6793 §4.2.3): as much of the front of AS_PATH as it is
    /// longer, then AS4_PATH. An AS4_PATH longer than the AS_PATH is ignored.
    pub fn merge_as4(self, as4_path: &Self) -> Self {
        let as4_path = as4_path.without_confederation();
        let Some(mut lead) = self.decision_len().checked_sub(as4_path.decision_len()) else {
            return self;
        };
        let mut merged = Self::default();
        for mut segment in self.segments {
            // Confederation segments that lead or touch the part that is taken belong to it.
            if lead == 0 && !segment.kind.is_confederation() {
                break;
            }
            if segment.kind == AsPathSegmentKind::Sequence {
                segment.asns.truncate(lead);
            }
            lead -= segment.decision_len();
            merged.segments.push(segment);
        }
        let mut segments = as4_path.segments.into_iter();
        // Where the cut went through a sequence its halves belong together.
        match (merged.segments.last_mut(), segments.next()) {
            (Some(last), Some(first))
                if last.kind == AsPathSegmentKind::Sequence
                    && first.kind == AsPathSegmentKind::Sequence
                    && last.asns.len() + first.asns.len() <= MAX_SEGMENT =>
            {
                last.asns.extend_from_slice(&first.asns);
            }
            (_, first) => merged.segments.extend(first),
        }
        merged.segments.extend(segments);
        merged
    }
}

impl fmt::Display for AsPath {
    /// `65001 65002 {1 2}`, confederation segments in `( )` and `[ ]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let (open, close) = match segment.kind {
                AsPathSegmentKind::Sequence => ("", ""),
                AsPathSegmentKind::Set => ("{", "}"),
                AsPathSegmentKind::ConfedSequence => ("(", ")"),
                AsPathSegmentKind::ConfedSet => ("[", "]"),
            };
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if index == 0 { "" } else { " " })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AsPathSegmentKind::{ConfedSequence, ConfedSet, Sequence, Set};

    fn path(segments: &[(AsPathSegmentKind, &[u32])]) -> AsPath {
        let segment = |(kind, asns): &(_, &[u32])| AsPathSegment { kind: *kind, asns: asns.iter().map(|n| Asn(*n)).collect() };
        AsPath { segments: segments.iter().map(segment).collect() }
    }

    #[test]
    fn reads_what_it_writes() {
        let wanted =
            path(&[(ConfedSequence, &[65100]), (ConfedSet, &[65101, 65102]), (Sequence, &[65001, 65002]), (Set, &[1, 2])]);
        for four_octet_as in [false, true] {
            let mut value = Vec::new();
            wanted.emit(&mut value, four_octet_as);
            assert_eq!(AsPath::parse(&value, four_octet_as), Ok(wanted.clone()));
        }
        assert_eq!(wanted.to_string(), "(65100) [65101 65102] 65001 65002 {1 2}");
        assert_eq!((wanted.decision_len(), wanted.neighbor_as()), (3, Some(Asn(65001))));
        assert!(wanted.contains(Asn(65102)) && !wanted.contains(Asn(3)));
    }

    #[test]
    fn refuses_what_rfc_7606_calls_malformed() {
        for (value, four) in [
            (&[2][..], true),
            (&[2, 0], true),
            (&[5, 1, 0, 0, 0, 1], true),
            (&[0, 1, 0, 0, 0, 1], true),
            (&[2, 1, 0, 0, 1], true),
            (&[2, 1, 0, 0, 0, 0], true),
            (&[2, 1, 0, 1, 2], false),
            (&[2, 2, 0, 1, 0], false),
        ] {
            assert!(AsPath::parse(value, four).is_err(), "{value:?}");
        }
        assert_eq!(AsPath::parse(&[], true), Ok(AsPath::default()));
    }

    #[test]
    fn prepends() {
        let mut path = AsPath::default();
        assert!(path.is_empty());
        for asn in 1..=300 {
            path.prepend(Asn(asn));
        }
        assert_eq!((path.segments.len(), path.decision_len(), path.neighbor_as()), (2, 300, Some(Asn(300))));
        let mut set = self::path(&[(Set, &[1])]);
        assert_eq!(set.neighbor_as(), None);
        set.prepend(Asn(2));
        assert_eq!(set.to_string(), "2 {1}");
    }

    #[test]
    fn merges_the_four_octet_path() {
        let trans = 23456;
        let cases = [
            (path(&[(Sequence, &[trans, 2])]), path(&[(Sequence, &[70000, 2])]), "70000 2"),
            (path(&[(Sequence, &[9, 8, trans])]), path(&[(Sequence, &[70000])]), "9 8 70000"),
            (path(&[(Sequence, &[trans])]), path(&[(Sequence, &[70000, 70001])]), "23456"),
            (path(&[(Set, &[9, 8]), (Sequence, &[trans])]), path(&[(Sequence, &[70000])]), "{9 8} 70000"),
            (path(&[(ConfedSequence, &[5]), (Sequence, &[trans])]), path(&[(Sequence, &[70000])]), "(5) 70000"),
            (path(&[(Sequence, &[1, trans]), (Set, &[trans])]), path(&[(Set, &[70000, 70001])]), "1 23456 {70000 70001}"),
            (path(&[(Sequence, &[1])]), AsPath::default(), "1"),
            (AsPath::default(), AsPath::default(), ""),
        ];
        for (two, four, wanted) in cases {
            assert_eq!(two.merge_as4(&four).to_string(), wanted);
        }
        // Sequences that came apart stay apart.
        let apart = path(&[(Sequence, &[70000]), (Sequence, &[2])]);
        assert_eq!(path(&[(Sequence, &[trans]), (Sequence, &[2])]).merge_as4(&apart), apart);
    }

    #[test]
    fn long_segments_are_split() {
        let path = AsPath { segments: vec![AsPathSegment { kind: Sequence, asns: vec![Asn(1); 256] }] };
        let mut value = Vec::new();
        path.emit(&mut value, false);
        assert_eq!(AsPath::parse(&value, false).unwrap(), AsPath::sequence(&[Asn(1); 256]));
    }
}
