//! Laws, filled below.
