//! Which writes carry the version of what they were decided about, so that a replica that lost its lease cannot undo
//! what its successor did.

use crate::model::Weight;
use crate::mutant;

/// A route that is to give the canary `wanted`. Whoever takes everything from it waits for nothing; any other share, a
/// lower one as well, might be a raise over what somebody else has set meanwhile.
pub fn route_is_fenced(wanted: Weight) -> bool {
    wanted > Weight::ZERO && !mutant!(UnfencedRaise)
}

/// A target that is scaled to so many replicas: pods may be taken away only where nobody has given them work meanwhile.
pub fn scale_is_fenced(replicas: u32) -> bool {
    replicas == 0 && !mutant!(UnfencedScale)
}
