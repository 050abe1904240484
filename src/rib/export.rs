//! Who may hear a path, and what its attributes become on the way out. These rules are here and nowhere else.
//!
//! Read first: RFC 4271 §5 and §9.2, RFC 4456 §6 to §8, RFC 1997, RFC 9494 §4.3 and §4.6. `adj_out` applies them.

use super::attrs::{Audience, DEFAULT_LOCAL_PREF, LLGR_STALE, NO_EXPORT};
use super::peers::{PeerKind, PeerSlot};
use crate::base::{Asn, BgpIdentifier};
use crate::wire::attribute::Attributes;

/// A set of kinds of peers, as bits.
pub(super) type Kinds = u8;

const EXTERNAL: Kinds = 1;
const CLIENT: Kinds = 2;
const NON_CLIENT: Kinds = 4;
/// The same kinds, of peers that sent the long-lived graceful restart capability.
const LONG_LIVED: u8 = 3;

/// The bit of a kind.
pub(super) const fn bit(kind: PeerKind, long_lived: bool) -> Kinds {
    let bit = match kind {
        PeerKind::External => EXTERNAL,
        PeerKind::Client => CLIENT,
        PeerKind::NonClient => NON_CLIENT,
        PeerKind::Local => 0,
    };
    if long_lived { bit << LONG_LIVED } else { bit }
}

/// The kinds of peers that may hear the best path from a source of this kind. The source itself never does.
pub(super) const fn may_hear(source: PeerKind, audience: Audience, long_lived_stale: bool) -> Kinds {
    let by_source = match source {
        // RFC 4271 §9.2, RFC 4456 §6: our own, external and clients' paths go to everybody.
        PeerKind::Local | PeerKind::External | PeerKind::Client => EXTERNAL | CLIENT | NON_CLIENT,
        // RFC 4456 §6: a non-client's go to clients; RFC 4271 §9.2: and to external peers.
        PeerKind::NonClient => EXTERNAL | CLIENT,
    };
    let kinds = match audience {
        Audience::Everybody => by_source,
        // RFC 1997: NO_EXPORT and NO_EXPORT_SUBCONFED.
        Audience::Internal => by_source & !EXTERNAL,
        // RFC 1997: NO_ADVERTISE.
        Audience::Nobody => 0,
    };
    // RFC 9494 §4.3: a long-lived stale path is for those who know what that is; §4.6: and for internal ones, marked.
    let plain = if long_lived_stale { kinds & !EXTERNAL } else { kinds };
    plain | kinds << LONG_LIVED
}

/// The attributes of a path from `source` as a peer of kind `target` hears them. The next hop stays what it is:
/// RFC 4456 §10 for internal peers; for external ones RFC 4271 §5.1.3 would put our own address.
/// Ours: the VTEP's all the same, because the data plane ends there and not here (RFC 8365 §5.1.3 and every fabric).
pub(super) fn rewrite(
    attributes: &Attributes,
    source: &PeerSlot,
    target: PeerKind,
    long_lived: bool,
    asn: Asn,
    cluster: BgpIdentifier,
) -> Attributes {
    let mut out = attributes.clone();
    if source.peer.kind != PeerKind::Local {
        // RFC 4271 §5: unknown ones that are transitive go on with the partial bit, others stay here.
        out.pass_on();
    }
    if target == PeerKind::External {
        out.as_path.prepend(asn);
        // RFC 4271 §5.1.5, RFC 4456 §8: these do not leave the AS.
        out.local_pref = None;
        out.originator_id = None;
        out.cluster_list.clear();
        // RFC 4271 §5.1.4: a MED heard from one AS is not told to another.
        if source.peer.kind != PeerKind::Local {
            out.med = None;
        }
        // RFC 4360 §6: non-transitive extended communities do not leave the AS.
        out.ext_communities.retain(|community| community.is_transitive());
        return out;
    }
    // RFC 4271 §5.1.5: LOCAL_PREF is mandatory among internal peers.
    out.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
    if matches!(source.peer.kind, PeerKind::Client | PeerKind::NonClient) {
        // RFC 4456 §8: who brought it into the AS, where nobody said so yet, and our cluster in front.
        out.originator_id.get_or_insert(source.peer.identifier);
        out.cluster_list.insert(0, cluster);
    }
    if !long_lived && out.communities.contains(&LLGR_STALE) {
        // RFC 9494 §4.6: who does not know LLGR_STALE would take it for any path. Ours: always on, because a withdrawal would
        // take the row of a host that still forwards.
        out.local_pref = Some(0);
        if !out.communities.contains(&NO_EXPORT) {
            out.communities.push(NO_EXPORT);
        }
    }
    out
}
