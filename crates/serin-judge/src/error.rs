//! Why a guard cannot be built.

/// What a guard cannot be built from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GuardError {
    /// A probability or a share that is none.
    #[error("{what} is {value}, but must lie between 0 and 1, both excluded")]
    NoShare {
        /// Which one.
        what: String,
        /// What it is.
        value: f64,
    },
    /// A number that is too small, or none.
    #[error("{what} is {value}, but must be finite and at least {least}")]
    TooSmall {
        /// Which one.
        what: String,
        /// What it is.
        value: f64,
        /// What it has to be.
        least: f64,
    },
    /// Parts of one that are more than one together: alpha would be spent twice.
    #[error("{what} sum to {sum}, which is more than 1")]
    Weights {
        /// Which ones.
        what: String,
        /// What they sum to.
        sum: f64,
    },
    /// Too many of something, or none.
    #[error("{what} are {count}, but must be between 1 and {most}")]
    Count {
        /// Of what.
        what: String,
        /// How many.
        count: usize,
        /// How many may be.
        most: usize,
    },
}
