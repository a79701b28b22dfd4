//! What Serin decides: canaries, strategies, verdicts and plans, as pure functions without I/O or a clock.

pub mod api;
pub mod apply_order;
pub mod check;
pub mod configs;
pub mod control;
pub mod crd;
pub mod docs;
pub mod exposure;
pub mod fence;
pub mod judge;
pub mod law;
pub mod lint;
pub mod model;
pub mod names;
pub mod observed;
pub mod parse;
pub mod plan;
pub mod reason;
pub mod status;
pub mod step;
pub mod words;
