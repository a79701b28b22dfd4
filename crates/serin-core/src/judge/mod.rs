//! From a spec to a monitor of `serin_judge`, and from what it says to what a step and a status are told.

pub mod design;
pub mod records;
