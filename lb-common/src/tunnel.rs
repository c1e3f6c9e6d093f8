//! Tunnels this node accepts: whose packets are decapsulated.

use crate::{address::Address, assert_size, pod};

/// Key of the `tunnels` hash map: outer addresses. A source of `::` stands for any: its presence tells that the
/// destination is an address of this node where tunnels end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelKey {
    /// Outer source: an edge.
    pub source: Address,
    /// Outer destination: an address of this node.
    pub destination: Address,
}
assert_size!(TunnelKey, 32);
pod!(TunnelKey);
