//! What Serin decides.
