//! Pure planning: from the desired state to an ordered list of map changes.
