//! The web console: pages and feeds of what a cluster's Canaries say, read with the rights of whoever started it.

mod assets;
pub mod board;
mod read;
mod server;
#[cfg(test)]
mod tests;
mod ui;

pub use board::{Board, Live};
pub(crate) use read::images as read_images;
pub use server::serve;
pub use ui::{UiArgs, run};
