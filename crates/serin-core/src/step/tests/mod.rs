//! Tests of the decisions, by phase.
