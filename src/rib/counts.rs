//! The table as numbers, for `show status` and `show neighbors`.

use super::Rib;
use super::stats::RibStats;

impl Rib {
    /// Destinations that have a path, and their paths in all.
    pub fn count(&self) -> (u64, u64) {
        self.table.count()
    }
}

impl RibStats {
    /// Every counter with its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("updates", self.updates),
            ("announced", self.announced),
            ("withdrawn", self.withdrawn),
            ("originator_loops", self.originator_loops),
            ("cluster_loops", self.cluster_loops),
            ("as_path_loops", self.as_path_loops),
            ("treat_as_withdraw", self.treat_as_withdraw),
            ("attribute_discards", self.attribute_discards),
            ("blocks_too_long", self.blocks_too_long),
            ("over_attribute_octets", self.over_attribute_octets),
            ("nlri_errors", self.nlri_errors),
            ("unknown_types", self.unknown_types),
            ("other_families", self.other_families),
            ("table_full", self.table_full),
            ("paths_over_limit", self.paths_over_limit),
            ("over_max_routes", self.over_max_routes),
            ("too_long_to_send", self.too_long_to_send),
            ("stale_swept", self.stale_swept),
            ("long_lived_stale", self.long_lived_stale),
            ("no_llgr", self.no_llgr),
            ("blocks_known", self.blocks_known),
            ("blocks_parsed", self.blocks_parsed),
            ("best_changes", self.best_changes),
            ("chunks_encoded", self.chunks_encoded),
            ("chunks_sent", self.chunks_sent),
        ]
    }
}
