//! The sample application on real sockets.
