//! The configuration file: typed, checked, with every error at once.
