//! Who may hear a path, and what its attributes become on the way out. These rules are here and nowhere else.
//!
//! Read first: RFC 4271 §5 and §9.2, RFC 4456 §6 to §8, RFC 1997. `adj_out` applies them.

use super::attrs::{Audience, DEFAULT_LOCAL_PREF};
use super::peers::{PeerKind, PeerSlot};
use crate::base::{Asn, BgpIdentifier};
use crate::wire::attribute::Attributes;

/// A set of kinds of peers, as bits.
pub(super) type Kinds = u8;

const EXTERNAL: Kinds = 1;
const CLIENT: Kinds = 2;
const NON_CLIENT: Kinds = 4;

/// The bit of a kind.
pub(super) const fn bit(kind: PeerKind) -> Kinds {
    match kind {
        PeerKind::External => EXTERNAL,
        PeerKind::Client => CLIENT,
        PeerKind::NonClient => NON_CLIENT,
        PeerKind::Local => 0,
    }
}

/// The kinds of peers that may hear the best path from a source of this kind. The source itself never does.
pub(super) const fn may_hear(source: PeerKind, audience: Audience) -> Kinds {
    let by_source = match source {
        // RFC 4271 §9.2, RFC 4456 §6: our own, external and clients' paths go to everybody.
        PeerKind::Local | PeerKind::External | PeerKind::Client => EXTERNAL | CLIENT | NON_CLIENT,
        // RFC 4456 §6: a non-client's go to clients; RFC 4271 §9.2: and to external peers.
        PeerKind::NonClient => EXTERNAL | CLIENT,
    };
    match audience {
        Audience::Everybody => by_source,
        // RFC 1997: NO_EXPORT and NO_EXPORT_SUBCONFED.
        Audience::Internal => by_source & !EXTERNAL,
        // RFC 1997: NO_ADVERTISE.
        Audience::Nobody => 0,
    }
}

/// The attributes of a path from `source` as a peer of kind `target` hears them. The next hop stays what it is:
/// RFC 4456 §10 for internal peers; for external ones RFC 4271 §5.1.3 would put our own address.
/// Ours: the VTEP's all the same, because the data plane ends there and not here (RFC 8365 §5.1.3 and every fabric).
pub(super) fn rewrite(
    attributes: &Attributes,
    source: &PeerSlot,
    target: PeerKind,
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
    out
}
