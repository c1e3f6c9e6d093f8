//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are taken over 16-bit words as they lie in memory: one's-complement addition is independent of byte order
//! (RFC 1071, section 2 (B)), so nothing is swapped on the way.

/// Folds a 64-bit running sum to 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum field for a running sum: its one's complement, as it lies in memory.
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// Adds `bytes` to a running sum; an odd last byte counts as if a zero followed.
#[inline(always)]
pub const fn add_bytes(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i + 1 < bytes.len() {
        sum += u16::from_ne_bytes([bytes[i], bytes[i + 1]]) as u64;
        i += 2;
    }
    if i < bytes.len() {
        sum += u16::from_ne_bytes([bytes[i], 0]) as u64;
    }
    sum
}

/// Updates a checksum field when one 16-bit word changes (RFC 1624, equation 3): `HC' = ~(~HC + ~m + m')`.
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    finish(!checksum as u64 + !old as u64 + new as u64)
}

/// The constant part of an outer IPv4 header's sum: version, DF, TTL, protocol and both addresses, without type of service,
/// length and identification. See [`BackendRecord::outer_sum`](crate::backend::BackendRecord::outer_sum).
pub const fn outer_v4_base(source: [u8; 4], destination: [u8; 4], ttl: u8, protocol: u8) -> u16 {
    let fixed = [0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, protocol];
    let sum = add_bytes(0, &fixed);
    let sum = add_bytes(sum, &source);
    fold(add_bytes(sum, &destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word in network order, as an independent reference.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1071_example_sums_to_ddf2() {
        let sum = fold(add_bytes(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(u16::from_be(sum), 0xddf2);
    }

    proptest! {
        #[test]
        fn matches_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            prop_assert_eq!(u16::from_be(finish(add_bytes(0, &bytes))), reference(&bytes));
        }

        #[test]
        fn an_update_equals_summing_anew(mut bytes in proptest::collection::vec(any::<u8>(), 20..60), at in 0usize..9, new in any::<[u8; 2]>()) {
            let at = at * 2;
            // A header is never all zeros, where the two representations of zero would differ.
            bytes[18] = 0x45;
            let before = finish(add_bytes(0, &bytes));
            let old = u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new);
            prop_assert_eq!(update(before, old, u16::from_ne_bytes(new)), finish(add_bytes(0, &bytes)));
        }

        #[test]
        fn an_outer_header_from_its_base_verifies(source in any::<[u8; 4]>(), destination in any::<[u8; 4]>(), tos in any::<u8>(), length in any::<u16>()) {
            let base = outer_v4_base(source, destination, 64, 4);
            let sum = base as u64 + u16::from_ne_bytes([0, tos]) as u64 + length.to_be() as u64;
            let mut header = std::vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, 64, 4, 0, 0];
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[10..12].copy_from_slice(&finish(sum).to_ne_bytes());
            header.extend(source);
            header.extend(destination);
            prop_assert_eq!(reference(&header), 0);
        }
    }
}
