//! Releases on a terminal: a list, waiting for the end, and a screen that is live.

mod get;
#[cfg(feature = "laboratory")]
mod picture;
#[cfg(feature = "laboratory")]
pub mod screen;
pub mod shell;
mod status;
#[cfg(all(test, feature = "laboratory"))]
mod tests;
mod tone;
#[cfg(feature = "laboratory")]
mod watch;

use std::io::{IsTerminal, Write};

use clap::Args;
use kube::Client;
use serin_core::model::Key;

use crate::kubeconfig::ClusterArgs;
use crate::view::Mark;

pub use get::{GetArgs, get};
pub use status::{StatusArgs, status};
#[cfg(feature = "laboratory")]
pub use watch::{WatchArgs, watch};

/// Which Canary, of which cluster.
#[derive(Clone, Debug, Args)]
pub struct OneArgs {
    /// The canary: NAME in the namespace, or NAMESPACE/NAME.
    canary: String,
    /// Namespace; without it that of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl OneArgs {
    /// A client, and the key that is meant.
    pub(super) async fn reach(&self) -> anyhow::Result<(Client, Key)> {
        let (client, default) = self.cluster.client().await?;
        Ok((client, self.key(&default)?))
    }

    fn key(&self, default: &str) -> anyhow::Result<Key> {
        let asked = self.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let (namespace, name) = match self.canary.split_once('/') {
            Some((namespace, name)) => {
                anyhow::ensure!(
                    asked.is_none_or(|asked| asked == namespace),
                    "{} names another namespace than --namespace {}",
                    self.canary,
                    asked.unwrap_or_default()
                );
                (namespace, name)
            }
            None => (asked.unwrap_or(default), self.canary.as_str()),
        };
        Ok(Key { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// How a terminal is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "laboratory"), allow(dead_code, reason = "only `watch` draws"))]
pub(crate) struct Terminal {
    /// Somebody reads it as it comes, and it can be drawn on.
    pub(crate) screen: bool,
    pub(crate) color: bool,
    pub(crate) ascii: bool,
}

impl Terminal {
    /// What the environment says of standard output.
    pub(crate) fn here() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::of(std::io::stdout().is_terminal(), text)
    }

    fn of(terminal: bool, text: impl Fn(&str) -> Option<String>) -> Self {
        let dumb = text("TERM").is_none_or(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(&text).unwrap_or_default();
        let utf8 = locale.to_ascii_lowercase().replace('-', "").contains("utf8");
        Self {
            screen: terminal && !dumb,
            color: terminal && !dumb && text("NO_COLOR").is_none(),
            ascii: !utf8,
        }
    }

    /// The colour of a mark, where there are colours.
    pub(crate) fn paint(self, mark: Mark, text: &str) -> String {
        let code = match mark {
            Mark::Up => "33",
            Mark::Down | Mark::Trouble => "31",
            Mark::Hold | Mark::Gate | Mark::Start => "35",
            Mark::Good => "32",
            Mark::End | Mark::Info => "2",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Standard output, as it comes; a reader that has gone is no error worth more words.
pub(crate) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
