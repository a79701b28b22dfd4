//! What a local cluster is made of, and where it listens.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the gateway and annotated pods are scraped. Checks that are seconds apart need samples as close.
pub(super) const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// The hidden verb that ties a process to this one and then becomes it.
pub(super) const POD_EXEC: &str = "pod-exec";

/// A part that is built in, or a real program at this path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Embedded,
    Real(PathBuf),
}

/// What runs, and where.
#[derive(Clone, Debug)]
pub struct Options {
    pub api: SocketAddr,
    /// Traffic comes in here.
    pub gateway: SocketAddr,
    /// The gateway's own `/metrics` and `/api`.
    pub gateway_admin: SocketAddr,
    pub prometheus: SocketAddr,
    /// Where the console listens; nowhere without.
    pub console: Option<SocketAddr>,
    /// Keeps the cluster's objects over restarts.
    pub data: Option<PathBuf>,
    pub router: Part,
    pub metrics: Part,
    /// This program: pods that have no other command are run by its hidden `app`.
    pub program: PathBuf,
    /// Commands for images, before the built-in ones.
    pub images: Vec<(String, Vec<String>)>,
    /// Without it the cluster has no operator, and one can be run against it by hand.
    pub operator: bool,
    /// The shortest analysis interval that the operator takes.
    pub min_interval_secs: i64,
}

impl Options {
    /// Everything embedded, on free ports of loopback.
    pub fn new(program: PathBuf) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            api: free,
            gateway: free,
            gateway_admin: free,
            prometheus: free,
            console: None,
            data: None,
            router: Part::Embedded,
            metrics: Part::Embedded,
            program,
            images: Vec::new(),
            operator: true,
            min_interval_secs: 1,
        }
    }
}

/// What is put before a command so that its process does not outlive this one.
pub(super) fn launcher(program: &Path) -> Vec<OsString> {
    vec![program.into(), POD_EXEC.into()]
}
