//! Who answers for a VIP: lease and announcements.

pub mod announcer;
pub mod frames;
