//! Tables, filled below.
