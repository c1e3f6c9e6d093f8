//! The order of changes: whatever is referred to is there before, and goes after, what refers to it.

use super::change::{Change, Plan};

/// Changes by their turn, in the order of the fields.
#[derive(Debug, Default)]
pub struct Turns {
    /// Backends that are new, go down, drain, come back.
    pub backends: Vec<Change>,
    /// Tables, before records point to them.
    pub tables: Vec<Change>,
    /// Source ranges, before a record demands one.
    pub ranges: Vec<Change>,
    /// Records of new and changed services, before their entries.
    pub records: Vec<Change>,
    /// Entries of new services, before their VIP's packets pass the filter.
    pub entries: Vec<Change>,
    /// VIPs and their bits in the filter.
    pub vips: Vec<Change>,
    /// The same backwards: VIPs that go,
    pub gone_vips: Vec<Change>,
    /// entries of services that go,
    pub gone_entries: Vec<Change>,
    /// their records,
    pub gone_records: Vec<Change>,
    /// source ranges that no record demands any more,
    pub gone_ranges: Vec<Change>,
    /// and backends that nothing refers to.
    pub gone_backends: Vec<Change>,
}

impl From<Turns> for Plan {
    fn from(turns: Turns) -> Self {
        let turns = [
            turns.backends,
            turns.tables,
            turns.ranges,
            turns.records,
            turns.entries,
            turns.vips,
            turns.gone_vips,
            turns.gone_entries,
            turns.gone_records,
            turns.gone_ranges,
            turns.gone_backends,
        ];
        Self { changes: turns.into_iter().flatten().collect() }
    }
}
