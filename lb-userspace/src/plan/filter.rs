//! The VIP filter: a bitmap over hashed addresses, with a count for each bit because VIPs can share one.

use std::{collections::HashMap, net::IpAddr};

use lb_common::{address::Address, hash};

use super::change::Change;

/// A mirror of `vip_filter`.
#[derive(Debug, Default)]
pub struct VipFilter {
    /// Words that are not zero.
    words: HashMap<u32, u64>,
    /// (Word, mask) -> VIPs on this bit.
    counts: HashMap<(u32, u64), u32>,
}

impl VipFilter {
    /// Counts a VIP in; the write that makes it pass the filter, unless another VIP already has its bit.
    pub fn add(&mut self, vip: IpAddr) -> Option<Change> {
        let (word, mask) = hash::filter_bit_of(&Address::from(vip));
        let count = self.counts.entry((word, mask)).or_default();
        *count += 1;
        (*count == 1).then(|| {
            let value = self.words.entry(word).or_default();
            *value |= mask;
            Change::VipFilter { word, value: *value }
        })
    }

    /// Counts a VIP out that was counted in; the write that clears its bit, unless another VIP needs it.
    pub fn remove(&mut self, vip: IpAddr) -> Option<Change> {
        let (word, mask) = hash::filter_bit_of(&Address::from(vip));
        let count = self.counts.get_mut(&(word, mask))?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.counts.remove(&(word, mask));
        let value = self.words.get_mut(&word)?;
        *value &= !mask;
        let value = *value;
        if value == 0 {
            self.words.remove(&word);
        }
        Some(Change::VipFilter { word, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn bit(vip: Ipv4Addr) -> (u32, u64) {
        hash::filter_bit_of(&Address::from(IpAddr::from(vip)))
    }

    /// Two addresses on the same bit, found by the birthday paradox.
    fn twins() -> (IpAddr, IpAddr) {
        let mut seen = HashMap::new();
        (0x0a00_0000..)
            .map(Ipv4Addr::from_bits)
            .find_map(|vip| seen.insert(bit(vip), vip).map(|twin| (twin.into(), vip.into())))
            .unwrap()
    }

    #[test]
    fn a_bit_shared_by_two_vips_is_cleared_with_the_second() {
        let (a, b) = twins();
        let mut filter = VipFilter::default();
        let Some(Change::VipFilter { word, value }) = filter.add(a) else { panic!("no write") };
        assert_eq!(value.count_ones(), 1);
        assert_eq!(filter.add(b), None);
        assert_eq!(filter.remove(a), None);
        assert_eq!(filter.remove(b), Some(Change::VipFilter { word, value: 0 }));
        assert!(filter.words.is_empty() && filter.counts.is_empty());
    }
}
