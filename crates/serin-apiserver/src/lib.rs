//! Placeholder, replaced as the modules land.
