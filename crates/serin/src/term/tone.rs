//! Pieces of text with a meaning, which the terminal has a colour for.

use crate::view::Mark;

/// What a piece of text means; who draws it has the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bold,
    Dim,
    Title,
    Canary,
    Primary,
    Bad,
    Hold,
    Good,
}

/// Pieces of one row, as wide as the terminal.
pub(super) type Row = Vec<(Tone, String)>;

/// The tone of a mark.
pub(super) fn tone_of(mark: Mark) -> Tone {
    match mark {
        Mark::Up => Tone::Canary,
        Mark::Down | Mark::Trouble => Tone::Bad,
        Mark::Hold | Mark::Gate | Mark::Start => Tone::Hold,
        Mark::Good => Tone::Good,
        Mark::End | Mark::Info => Tone::Dim,
    }
}
