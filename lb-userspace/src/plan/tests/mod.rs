//! Promises of the planner, checked on a model of the maps.
