//! The integration tests, in one binary: every further one would link the world again.

mod tidy;
