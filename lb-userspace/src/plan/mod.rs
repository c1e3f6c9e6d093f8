//! Pure planning: from the desired state to an ordered list of map changes.
//!
//! [`Planner::plan`] compares what a source wants with a mirror of the maps. It first [stages](stage) everything that can fail, then
//! [takes it over](diff) as changes in their [order]. No I/O and no clock: the present is an argument.

pub mod change;
pub mod content;
mod diff;
pub mod filter;
pub mod ids;
pub mod maglev;
mod order;
mod settle;
mod stage;
mod state;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod two_choice;
mod view;

pub use change::{Capacities, Change, Plan, PlanError, Resource, SourceRangeKey};
pub use state::{Degraded, Planner};
pub use two_choice::Write;
pub use view::{BackendView, ServiceView, Share, Usage};
