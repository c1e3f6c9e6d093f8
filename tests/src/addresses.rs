//! The laboratory's address plan: which subnet is where, and who has which number in it.
//!
//! ```text
//! client       10.1.0.0/24   fd00:1::/64    .10 the client
//! narrow hop   10.2.0.0/24   fd00:2::/64    between gate and router, if there is one
//! LAN          10.10.0.0/24  fd00:10::/64   .1 router, .2 far router, .11… edges, .21… servers, .100… VIPs
//! second LAN   10.20.0.0/24  fd00:20::/64   .1 router, .11… edges, .21… servers
//! far          10.30.0.0/24  fd00:30::/64   .1 far router, .21… servers
//! routed VIPs  192.0.2.0/24  2001:db8::/64  the router sends them to the LAN; no host has an address there
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A pair of subnets, a /24 and a /64, that lie on the same segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    v4: [u8; 3],
    v6: [u16; 4],
}

/// The client's segment.
pub const CLIENT: Subnet = Subnet { v4: [10, 1, 0], v6: [0xfd00, 0x1, 0, 0] };
/// The segment between gate and router.
pub const NARROW: Subnet = Subnet { v4: [10, 2, 0], v6: [0xfd00, 0x2, 0, 0] };
/// The servers' LAN, where the edges are.
pub const LAN: Subnet = Subnet { v4: [10, 10, 0], v6: [0xfd00, 0x10, 0, 0] };
/// A LAN behind the edges' second interface.
pub const SECOND_LAN: Subnet = Subnet { v4: [10, 20, 0], v6: [0xfd00, 0x20, 0, 0] };
/// A subnet behind a router on the LAN.
pub const FAR: Subnet = Subnet { v4: [10, 30, 0], v6: [0xfd00, 0x30, 0, 0] };
/// VIPs outside of every host's subnet.
pub const ROUTED_VIPS: Subnet = Subnet { v4: [192, 0, 2], v6: [0x2001, 0xdb8, 0, 0] };

/// The client's number in its subnet.
pub const CLIENT_HOST: u8 = 10;
/// A router's number in its subnets.
pub const ROUTER_HOST: u8 = 1;
/// The far router's number in the LAN.
pub const FAR_ROUTER_HOST: u8 = 2;
/// The first edge's number.
pub const FIRST_EDGE: u8 = 11;
/// The first server's number.
pub const FIRST_SERVER: u8 = 21;
/// The first VIP's number; the IPv6 address shows the same digits.
pub const FIRST_VIP: u8 = 100;

impl Subnet {
    /// The IPv4 address with this number.
    pub const fn v4(self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.v4;
        Ipv4Addr::new(a, b, c, host)
    }

    /// The IPv6 address that shows the decimal digits of this number: `fd00:10::21` beside `10.10.0.21`.
    pub const fn v6(self, host: u8) -> Ipv6Addr {
        let [a, b, c, d] = self.v6;
        let digits =
            (host / 100) as u16 * 0x100 + (host / 10 % 10) as u16 * 0x10 + (host % 10) as u16;
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, digits)
    }

    /// The IPv4 subnet in `address/length` form.
    pub fn v4_net(self) -> String {
        format!("{}/24", self.v4(0))
    }

    /// The IPv6 subnet in `address/length` form.
    pub fn v6_net(self) -> String {
        format!("{}/64", self.v6(0))
    }
}

/// VIP number `n` (0…) of the LAN, IPv4.
pub const fn vip4(n: u8) -> IpAddr {
    IpAddr::V4(LAN.v4(FIRST_VIP + n))
}

/// VIP number `n` (0…) of the LAN, IPv6.
pub const fn vip6(n: u8) -> IpAddr {
    IpAddr::V6(LAN.v6(FIRST_VIP + n))
}

/// VIP number `n` (0…) of the routed subnet, IPv4.
pub const fn routed_vip4(n: u8) -> IpAddr {
    IpAddr::V4(ROUTED_VIPS.v4(FIRST_VIP + n))
}

/// VIP number `n` (0…) of the routed subnet, IPv6.
pub const fn routed_vip6(n: u8) -> IpAddr {
    IpAddr::V6(ROUTED_VIPS.v6(FIRST_VIP + n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_show_the_same_digits() {
        assert_eq!(LAN.v4(21).to_string(), "10.10.0.21");
        assert_eq!(LAN.v6(21).to_string(), "fd00:10::21");
        assert_eq!(vip6(7).to_string(), "fd00:10::107");
        assert_eq!(ROUTED_VIPS.v6_net(), "2001:db8::/64");
    }
}
