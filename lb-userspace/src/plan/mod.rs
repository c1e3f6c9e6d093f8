//! Pure planning: from the desired state to an ordered list of map changes.

pub mod content;
pub mod ids;
pub mod maglev;
pub mod tables;
pub mod two_choice;
