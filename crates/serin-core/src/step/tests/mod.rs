//! Tests of the decisions: whole releases told as tables, the laws as properties.

mod capacity;
mod control;
mod copies;
mod daemon_sets;
mod findings;
mod laws;
mod lint;
mod mirrored;
mod pace;
mod past;
mod replace;
mod seldom;
mod stories;
mod unknown;
mod windows;
mod world;
