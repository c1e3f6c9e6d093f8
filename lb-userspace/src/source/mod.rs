//! Sources of desired state.
