//! The laws as properties over random worlds.
