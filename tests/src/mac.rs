//! Ethernet addresses.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use anyhow::{Context, Error, ensure};

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// A locally administered address for the interface that has `address`, so that captures
    /// can be read: `02:<kind>:<address>`.
    pub const fn for_address(kind: u8, address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, kind, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut octets = [0; 6];
        let mut parts = text.trim().split(':');
        for octet in &mut octets {
            let part = parts.next().with_context(|| format!("{text:?} is too short for a MAC"))?;
            *octet = u8::from_str_radix(part, 16).with_context(|| format!("in MAC {text:?}"))?;
        }
        ensure!(parts.next().is_none(), "{text:?} is too long for a MAC");
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let mac = Mac::for_address(1, Ipv4Addr::new(10, 10, 0, 255));
        assert_eq!(mac.to_string(), "02:01:0a:0a:00:ff");
        assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        assert!("02:01:0a:0a:00".parse::<Mac>().is_err());
        assert!("02:01:0a:0a:00:ff:00".parse::<Mac>().is_err());
    }
}
