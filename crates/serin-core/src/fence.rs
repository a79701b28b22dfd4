//! Which writes carry the version of what they were decided about, so that a replica that lost its lease cannot undo
//! what its successor did.

use crate::model::{Exposure, Phase, Running, Status};

/// A route that is to give the canary `wanted`. Whoever takes everything from it waits for nothing; any other exposure, a
/// lower one as well, might be a raise over what another client has set meanwhile.
pub fn route_is_fenced(wanted: Exposure) -> bool {
    !wanted.is_none()
}

/// A target that is told to run so: pods may be taken away only where no other write has given them work meanwhile.
pub fn scale_is_fenced(running: Running) -> bool {
    running == Running::Off
}

/// How the route of a canary that has nothing is marked, so that its version moves and a share on its way is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Not at all: nothing can be on its way.
    None,
    /// Whatever it is by now: the status speaks of a share that the route does not give.
    Free,
    /// Only if it is as it was seen: the canary is about to be scaled away. A share may have arrived whose answer was lost.
    Fenced,
}

/// The touch that this status asks for.
pub fn touch(status: &Status) -> Touch {
    match status.phase {
        _ if !status.exposure().is_none() => Touch::Free,
        Some(Phase::Succeeded | Phase::Failed) => Touch::Fenced,
        Some(
            Phase::Initializing
            | Phase::Initialized
            | Phase::Waiting
            | Phase::Progressing
            | Phase::WaitingPromotion
            | Phase::Promoting
            | Phase::Finalising
            | Phase::Terminating
            | Phase::Terminated,
        )
        | None => Touch::None,
    }
}
