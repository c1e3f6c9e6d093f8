//! IP addresses as map keys: 16 bytes in network order, IPv4 as IPv4-mapped IPv6 (RFC 4291, section 2.5.5.2).

use crate::{assert_size, pod};

/// An IPv4 or IPv6 address in network byte order; IPv4 addresses are stored as `::ffff:a.b.c.d`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The 16 bytes, most significant first.
    pub bytes: [u8; 16],
}
assert_size!(Address, 16);
pod!(Address);

impl Address {
    /// The unspecified IPv6 address, `::`.
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    /// Stores an IPv4 address as an IPv4-mapped one.
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    /// Stores an IPv6 address as it is.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self { bytes: octets }
    }

    /// The IPv4 address, if this is an IPv4-mapped one.
    #[inline(always)]
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        let b = &self.bytes;
        let mapped = b[0] | b[1] | b[2] | b[3] | b[4] | b[5] | b[6] | b[7] | b[8] | b[9] == 0
            && b[10] == 0xff
            && b[11] == 0xff;
        if mapped { Some([b[12], b[13], b[14], b[15]]) } else { None }
    }

    /// The address as two 64-bit words in memory order, for hashing and comparing.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        let b = &self.bytes;
        [
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ]
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        match address.as_v4() {
            Some(octets) => Self::V4(octets.into()),
            None => Self::V6(address.bytes.into()),
        }
    }
}
