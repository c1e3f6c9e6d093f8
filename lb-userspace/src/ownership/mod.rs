//! Who answers for a VIP: lease and announcements.
