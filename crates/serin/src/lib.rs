//! The operator: reads the world, asks the core, carries the decision out.

pub mod actions;
pub mod apply;
pub mod ask;
pub mod aws;
#[cfg(feature = "laboratory")]
pub mod backtest;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod control;
pub mod controller;
#[cfg(feature = "laboratory")]
pub mod demo;
pub mod events;
pub mod explain;
pub mod guard;
pub mod helm_values;
pub mod http;
pub mod leader;
#[cfg(feature = "laboratory")]
pub mod local;
mod managers;
pub mod metrics;
pub mod migrate;
pub mod observe;
pub mod operator;
pub mod outside;
mod packed;
pub mod pages;
pub mod patience;
#[cfg(feature = "laboratory")]
pub mod plan;
mod pods;
pub mod queue;
pub mod reach;
pub mod record;
mod refusal;
mod releasing;
pub mod rights;
pub mod telemetry;
pub mod tell;
pub mod term;
pub mod tick;
pub mod turns;
mod unused;
pub mod view;
pub mod wake;
pub mod world;
