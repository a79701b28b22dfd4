//! What is built from objects, and what is refused.
