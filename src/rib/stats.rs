//! Counters of the table: everything that was ignored, refused or cut short leaves a trace here.

/// What happened in the table since the start. All count events, unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RibStats {
    /// UPDATEs handled.
    pub updates: u64,
    /// Routes announced to us, repeats included.
    pub announced: u64,
    /// Routes withdrawn from us, by the peer or by treat-as-withdraw.
    pub withdrawn: u64,
    /// UPDATEs whose ORIGINATOR_ID was ours (RFC 4456 §8).
    pub originator_loops: u64,
    /// UPDATEs whose CLUSTER_LIST had our cluster id (RFC 4456 §8).
    pub cluster_loops: u64,
    /// UPDATEs from an external peer whose AS_PATH had our AS (RFC 4271 §9.1.2).
    pub as_path_loops: u64,
    /// UPDATEs whose routes were withdrawn because of an attribute (RFC 7606).
    pub treat_as_withdraw: u64,
    /// Attributes dropped, with the routes kept (RFC 7606); counted when a block is seen for the first time.
    pub attribute_discards: u64,
    /// Attribute blocks longer than the limit of the configuration.
    pub blocks_too_long: u64,
    /// UPDATEs whose routes were withdrawn because the peer's attribute blocks take more memory than its limit.
    pub over_attribute_octets: u64,
    /// Routes that could not be read: withdrawn where their names could, else stepped over.
    pub nlri_errors: u64,
    /// Routes of a type that we do not know, kept opaque.
    pub unknown_types: u64,
    /// UPDATEs, or parts of them, for families other than 25/70.
    pub other_families: u64,
    /// Announcements that were not taken because the table was full.
    pub table_full: u64,
    /// Paths beyond the limit of a destination: the new one was not taken, or a worse one went.
    pub paths_over_limit: u64,
    /// UPDATEs after which the peer had more than its `max_routes`.
    pub over_max_routes: u64,
    /// Routes that could not be sent to some group because their attributes do not fit its longest message.
    pub too_long_to_send: u64,
    /// Paths kept over the loss of a session that went because nobody confirmed them.
    pub stale_swept: u64,
    /// Paths that became long-lived stale (RFC 9494).
    pub long_lived_stale: u64,
    /// Paths that would have, but asked for NO_LLGR and went.
    pub no_llgr: u64,
    /// Attribute blocks found among the known, so that nothing was parsed.
    pub blocks_known: u64,
    /// Attribute blocks parsed.
    pub blocks_parsed: u64,
    /// Best paths that changed.
    pub best_changes: u64,
    /// Chunks of UPDATEs encoded for a group of peers.
    pub chunks_encoded: u64,
    /// Chunks copied to a peer.
    pub chunks_sent: u64,
}
