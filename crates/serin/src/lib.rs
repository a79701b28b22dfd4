//! The operator: reads the world, asks the core, carries the decision out.

pub mod apply;
pub mod ask;
pub mod backtest;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod demo;
pub mod events;
pub mod explain;
pub mod guard;
pub mod http;
pub mod leader;
pub mod local;
pub mod metrics;
pub mod observe;
pub mod operator;
pub mod outside;
mod packed;
pub mod pages;
pub mod queue;
pub mod record;
pub mod telemetry;
pub mod tell;
pub mod tick;
pub mod wake;
pub mod world;
