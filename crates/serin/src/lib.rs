//! The operator: reads the world, asks the core, carries the decision out.
