//! The table as numbers, for `show status` and `show neighbors`.

use std::collections::BTreeMap;

use super::change::told;
use super::export;
use super::peers::PeerId;
use super::slab::NONE;
use super::stats::RibStats;
use super::{DestId, Rib};

impl Rib {
    /// Destinations that have a path, and their paths in all.
    pub fn count(&self) -> (u64, u64) {
        self.dests().fold((0, 0), |(dests, paths), dest| (dests + 1, paths + self.table.paths(dest.0).count() as u64))
    }

    /// How many destinations each peer that hears from us has been told. One walk over the table, and one more for each
    /// peer that is behind.
    pub fn advertised_counts(&self) -> BTreeMap<PeerId, u64> {
        let mut by_source: BTreeMap<(u16, export::Kinds), u64> = BTreeMap::new();
        for id in 0..self.table.dests.len() {
            let Some(entry) = self.table.dest(id).filter(|entry| entry.node != NONE) else { continue };
            let Some(path) = told(&self.table, &self.changes, id) else { continue };
            *by_source.entry((path.peer, self.adj_out.nodes[entry.node].can)).or_default() += 1;
        }
        let count = |(&peer, cursor): (&u16, &super::adj_out::Cursor)| {
            let id = PeerId(peer);
            if self.has_pending(id) {
                let told = (0..self.table.dests.len()).filter(|&dest| self.is_advertised(DestId(dest), id)).count();
                return (id, told as u64);
            }
            let kind = export::bit(self.adj_out.groups[cursor.group].key.kind);
            let heard = by_source.iter().filter(|((source, can), _)| *source != peer && can & kind != 0);
            (id, heard.map(|(_, count)| count).sum())
        };
        self.adj_out.cursors.iter().map(count).collect()
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
            ("nlri_errors", self.nlri_errors),
            ("unknown_types", self.unknown_types),
            ("other_families", self.other_families),
            ("table_full", self.table_full),
            ("over_max_routes", self.over_max_routes),
            ("too_long_to_send", self.too_long_to_send),
            ("blocks_known", self.blocks_known),
            ("blocks_parsed", self.blocks_parsed),
            ("best_changes", self.best_changes),
            ("chunks_encoded", self.chunks_encoded),
            ("chunks_sent", self.chunks_sent),
        ]
    }
}
