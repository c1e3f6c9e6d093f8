//! Hashes: the keyed one that spreads flows, and the plain ones that place VIPs and services in their tables.
//!
//! Flows are hashed with SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under the cluster's seed, so
//! that all edges pick alike and a stranger, who does not know the seed, cannot aim flows at one backend.

use crate::{
    address::Address,
    limits::{SERVICE_BUCKETS_V4, SERVICE_BUCKETS_V6, VIP_FILTER_WORDS},
};

/// Multiplier of Fibonacci hashing: 2^64 divided by the golden ratio (Knuth, TAOCP volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// State of a SipHash-1-3 computation.
struct Sip {
    v: [u64; 4],
}

impl Sip {
    #[inline(always)]
    const fn new(key: [u64; 2]) -> Self {
        Self {
            v: [
                key[0] ^ 0x736f_6d65_7073_6575,
                key[1] ^ 0x646f_7261_6e64_6f6d,
                key[0] ^ 0x6c79_6765_6e65_7261,
                key[1] ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        Self { v: [a, b, c, d] }
    }

    #[inline(always)]
    const fn word(mut self, word: u64) -> Self {
        self.v[3] ^= word;
        let mut next = self.round();
        next.v[0] ^= word;
        next
    }

    #[inline(always)]
    const fn finish(mut self) -> u64 {
        self.v[2] ^= 0xff;
        let [a, b, c, d] = self.round().round().round().v;
        a ^ b ^ c ^ d
    }
}

/// Hashes an IPv4 flow: SipHash-1-3 over the 13 bytes source, destination, ports, protocol. `source`, `destination` and `ports` (source port
/// first) are words as they lie in the packet.
#[inline(always)]
pub const fn flow_v4(
    key: [u64; 2],
    source: u32,
    destination: u32,
    ports: u32,
    protocol: u8,
) -> u64 {
    Sip::new(key)
        .word(source as u64 | (destination as u64) << 32)
        .word(ports as u64 | (protocol as u64) << 32 | 13 << 56)
        .finish()
}

/// Hashes an IPv6 flow like [`flow_v4`], over 37 bytes.
#[inline(always)]
pub const fn flow_v6(
    key: [u64; 2],
    source: [u64; 2],
    destination: [u64; 2],
    ports: u32,
    protocol: u8,
) -> u64 {
    Sip::new(key)
        .word(source[0])
        .word(source[1])
        .word(destination[0])
        .word(destination[1])
        .word(ports as u64 | (protocol as u64) << 32 | 37 << 56)
        .finish()
}

/// Hashes an IPv4 client of a VIP, for session affinity: all its ports and protocols hash alike.
#[inline(always)]
pub const fn client_v4(key: [u64; 2], source: u32, destination: u32) -> u64 {
    Sip::new(key).word(source as u64 | (destination as u64) << 32).word(8 << 56).finish()
}

/// Hashes an IPv6 client of a VIP, for session affinity.
#[inline(always)]
pub const fn client_v6(key: [u64; 2], source: [u64; 2], destination: [u64; 2]) -> u64 {
    Sip::new(key)
        .word(source[0])
        .word(source[1])
        .word(destination[0])
        .word(destination[1])
        .word(32 << 56)
        .finish()
}

/// The slot of a flow in a table of `length` slots: the hash's high half scaled to the length, without a division
/// (Lemire, "Fast Random Integer Generation in an Interval", 2019).
#[inline(always)]
pub const fn slot_index(hash: u64, length: u32) -> u32 {
    (((hash >> 32) * length as u64) >> 32) as u32
}

/// Bit of an IPv4 address in the VIP filter: (word, mask). `address` is the word as it lies in the packet.
#[inline(always)]
pub const fn filter_bit_v4(address: u32) -> (u32, u64) {
    filter_bit((address as u64).wrapping_mul(GOLDEN))
}

/// Bit of an IPv6 address in the VIP filter: (word, mask).
#[inline(always)]
pub const fn filter_bit_v6(address: [u64; 2]) -> (u32, u64) {
    // The halves are mixed one after the other, so that swapping or equal halves do not cancel out.
    let high = address[0].wrapping_mul(GOLDEN);
    filter_bit((address[1] ^ high ^ high >> 32).wrapping_mul(GOLDEN))
}

#[inline(always)]
const fn filter_bit(product: u64) -> (u32, u64) {
    let bits = VIP_FILTER_WORDS * 64;
    let bit = (product >> (64 - bits.trailing_zeros())) as u32;
    (bit / 64, 1 << (bit % 64))
}

/// Bit of any address in the VIP filter.
pub const fn filter_bit_of(address: &Address) -> (u32, u64) {
    match address.as_v4() {
        Some(octets) => filter_bit_v4(u32::from_ne_bytes(octets)),
        None => filter_bit_v6(address.words()),
    }
}

/// The two buckets of `services` that may hold a key (see [`ServiceEntryV4::key`](crate::service::ServiceEntryV4::key)); they can be the same.
#[inline(always)]
pub const fn service_buckets_v4(key: u64) -> (u32, u32) {
    let product = (key ^ key >> 32).wrapping_mul(GOLDEN);
    let bits = SERVICE_BUCKETS_V4.trailing_zeros();
    (
        (product >> (64 - bits)) as u32,
        (product >> (64 - 2 * bits)) as u32 & (SERVICE_BUCKETS_V4 - 1),
    )
}

/// The two buckets of `services_v6` that may hold a VIP with port and protocol (see
/// [`ServiceEntryV6::key`](crate::service::ServiceEntryV6::key)).
#[inline(always)]
pub const fn service_buckets_v6(vip: [u64; 2], key: u32) -> (u32, u32) {
    let high = (vip[0] ^ key as u64).wrapping_mul(GOLDEN);
    let mixed = vip[1] ^ high ^ high >> 32;
    // The last bytes of a VIP, where neighbours differ, lie at the top of the word: they have to reach its low bits first.
    let product = (mixed ^ mixed >> 32).wrapping_mul(GOLDEN);
    let bits = SERVICE_BUCKETS_V6.trailing_zeros();
    (
        (product >> (64 - bits)) as u32,
        (product >> (64 - 2 * bits)) as u32 & (SERVICE_BUCKETS_V6 - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::hash::Hasher;

    fn reference(key: [u64; 2], bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
        hasher.write(bytes);
        hasher.finish()
    }

    fn words(bytes: [u8; 16]) -> [u64; 2] {
        Address::from_v6(bytes).words()
    }

    proptest! {
        #[test]
        fn ipv4_flows_hash_as_siphash_1_3_does(key: [u64; 2], source: [u8; 4], destination: [u8; 4], ports: [u8; 4], protocol: u8) {
            let bytes: std::vec::Vec<u8> = source.into_iter().chain(destination).chain(ports).chain([protocol]).collect();
            let hash = flow_v4(key, u32::from_ne_bytes(source), u32::from_ne_bytes(destination), u32::from_ne_bytes(ports), protocol);
            prop_assert_eq!(hash, reference(key, &bytes));
            prop_assert_eq!(client_v4(key, u32::from_ne_bytes(source), u32::from_ne_bytes(destination)), reference(key, &bytes[..8]));
        }

        #[test]
        fn ipv6_flows_hash_as_siphash_1_3_does(key: [u64; 2], source: [u8; 16], destination: [u8; 16], ports: [u8; 4], protocol: u8) {
            let bytes: std::vec::Vec<u8> = source.into_iter().chain(destination).chain(ports).chain([protocol]).collect();
            let hash = flow_v6(key, words(source), words(destination), u32::from_ne_bytes(ports), protocol);
            prop_assert_eq!(hash, reference(key, &bytes));
            prop_assert_eq!(client_v6(key, words(source), words(destination)), reference(key, &bytes[..32]));
        }

        #[test]
        fn indexes_stay_within_their_tables(hash: u64, length in 1u32.., address: [u8; 16], key: u64) {
            prop_assert!(slot_index(hash, length) < length);
            prop_assert!(filter_bit_of(&Address::from_v6(address)).0 < VIP_FILTER_WORDS);
            let (a, b) = service_buckets_v4(key);
            prop_assert!(a < SERVICE_BUCKETS_V4 && b < SERVICE_BUCKETS_V4);
            let (a, b) = service_buckets_v6(words(address), key as u32);
            prop_assert!(a < SERVICE_BUCKETS_V6 && b < SERVICE_BUCKETS_V6);
        }
    }

    #[test]
    fn neighbouring_flows_spread_evenly_over_slots() {
        const SLOTS: usize = 101;
        const FLOWS: u32 = 101_000;
        let mut counts = [0u32; SLOTS];
        for port in 0..FLOWS {
            let hash = flow_v4([7, 11], 0x0a00_0001, 0xc000_0201, port, 6);
            counts[slot_index(hash, SLOTS as u32) as usize] += 1;
        }
        let expected = f64::from(FLOWS) / SLOTS as f64;
        let chi_square: f64 =
            counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 100 degrees of freedom: 149.4 is exceeded by chance once in a thousand; keys and flows are fixed, so this never flickers.
        assert!(chi_square < 149.4, "chi-square {chi_square}");
    }
}
