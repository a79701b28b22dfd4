//! ReleaseAction of `serin.dev/v1alpha1`: what a person asks of a release, outside the Canary that GitOps owns.

use jiff::Timestamp;

use super::{Foreign, document};

/// API group of what Flagger does not have.
pub const GROUP: &str = "serin.dev";

/// The only version.
pub const VERSION: &str = "v1alpha1";

document! {
    /// Something that a person asks of a release, once. It is immutable; its status says what came of it.
    pub struct ReleaseAction {
        /// Version of this document's schema: `serin.dev/v1alpha1`.
        api_version: String,
        /// Kind of this document: `ReleaseAction`.
        kind: String,
        /// Name, namespace, labels and annotations.
        metadata: Foreign,
        /// What is asked, of which release.
        spec: ReleaseActionSpec,
        /// What came of it.
        status: ReleaseActionStatus,
    }

    /// What is asked, of which release.
    pub struct ReleaseActionSpec {
        /// Name of the Canary, in the same namespace.
        canary: String,
        /// `abort` gives the primary all traffic and rejects the revision; `promote` promotes without the rest of the
        /// analysis; `advance` begins the next stage; `pause` and `resume` hold and release the advance; `retry` analyses a
        /// rejected revision again; `restart` begins the analysis again; `undo` gives the primary back what it ran before
        /// its last promotion; `set-weight` sets the canary's share and pauses; `approve` and `reject` decide in the place
        /// of a hook that confirms.
        #[schemars(extend("enum" = [
            "abort", "promote", "advance", "pause", "resume", "retry", "restart", "undo", "set-weight", "approve", "reject",
        ]))]
        action: String,
        /// The release that it is meant for, as `status.release` of the Canary says it. For any other nothing is done.
        release: String,
        /// Percent of the traffic, for `set-weight`.
        #[schemars(range(min = 0, max = 100))]
        weight: i32,
        /// Name of the hook, for `approve` and `reject`.
        gate: String,
        /// Why, for Events, alerts and the history.
        reason: String,
        /// Who asks. An admission policy can hold it to the name of the user who creates the object.
        user: String,
        /// How long it may be carried out, such as `10m`, which is the default; at most `24h`.
        expires_after: String,
    }

    /// What came of it.
    pub struct ReleaseActionStatus {
        /// `Done`, `Refused` or `Expired`; unset while it is still to be carried out.
        state: String,
        /// What follows from it, or why it was refused.
        message: String,
        /// When this was decided.
        time: Timestamp,
    }
}
