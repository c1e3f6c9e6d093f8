//! The command line.

pub mod keygen;
pub mod validate;
