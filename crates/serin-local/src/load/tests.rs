//! The load generator against the sample application.
