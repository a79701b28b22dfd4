//! Everything that can be set, by flag or environment variable; read once, handed down by value in typed parts.
//!
//! Flagger's flag names are kept, and like there one dash is as good as two.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::{Args, ValueEnum};

use crate::telemetry::LogFormat;

/// Flags of `serin controller`.
#[derive(Clone, Debug, Args)]
pub struct ControllerArgs {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    pub kubeconfig: Option<String>,
    /// Prometheus for builtin and inline queries.
    #[arg(long, env = "SERIN_METRICS_SERVER", default_value = "http://prometheus:9090")]
    pub metrics_server: String,
    /// Metrics of the gateway, for the guard, of every replica: service=NAMESPACE/NAME:PORT, selector=NAMESPACE/LABELS:PORT
    /// or a URL such as http://traefik-metrics:9100/metrics, in which a name stands for all its addresses. A PORT is a
    /// number of the pods or a name, and may be followed by a path other than /metrics.
    #[arg(long, env = "SERIN_GATEWAY_METRICS", value_delimiter = ',')]
    pub gateway_metrics: Vec<String>,
    /// Router of canaries that name none.
    #[arg(long, env = "SERIN_MESH_PROVIDER", default_value = "traefik")]
    pub mesh_provider: String,
    /// Watch this namespace only.
    #[arg(long, env = "SERIN_NAMESPACE")]
    pub namespace: Option<String>,
    /// Port of /healthz, /readyz and /metrics.
    #[arg(long, env = "SERIN_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Address that port is bound to.
    #[arg(long, env = "SERIN_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub address: IpAddr,
    /// Canaries worked on at once.
    #[arg(long, env = "SERIN_THREADINESS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threadiness: u16,
    /// debug, info, warn or error, or a filter such as serin=debug.
    #[arg(long, env = "SERIN_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How logs are written.
    #[arg(long, env = "SERIN_ZAP_ENCODING", default_value = "json")]
    pub zap_encoding: Encoding,
    /// Labels that may select a target's pods, in order of preference.
    #[arg(
        long,
        env = "SERIN_SELECTOR_LABELS",
        value_delimiter = ',',
        default_value = "app,name,app.kubernetes.io/name"
    )]
    pub selector_labels: Vec<String>,
    /// Prefixes of labels and annotations that the primary gets from the target; `*` means all.
    #[arg(long, env = "SERIN_INCLUDE_LABEL_PREFIX", value_delimiter = ',')]
    pub include_label_prefix: Vec<String>,
    /// Treat ConfigMaps and Secrets that the target refers to as part of the release.
    #[arg(long, env = "SERIN_ENABLE_CONFIG_TRACKING", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_config_tracking: bool,
    /// One replica acts at a time. On by default, unlike in Flagger.
    #[arg(long, env = "SERIN_ENABLE_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_leader_election: bool,
    /// Namespace of the Lease; the Pod's own when unset.
    #[arg(long, env = "SERIN_LEADER_ELECTION_NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// Receives every Event of canaries that have no `event` webhook.
    #[arg(long, env = "EVENT_WEBHOOK_URL")]
    pub event_webhook: Option<String>,
    /// Shown in alerts.
    #[arg(long, env = "SERIN_CLUSTER_NAME", default_value = "")]
    pub cluster_name: String,
    /// Refuse metric templates and alert providers of other namespaces.
    #[arg(long, env = "SERIN_NO_CROSS_NAMESPACE_REFS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub no_cross_namespace_refs: bool,
    /// Hosts that canaries, MetricTemplates and AlertProviders may send requests to: names, addresses, `*.example.com` for
    /// what is below a name. All hosts when unset, as in Flagger; the metric server of this command line always.
    #[arg(long, env = "SERIN_ALLOW_HOSTS", value_delimiter = ',')]
    pub allow_hosts: Vec<String>,
    /// Shortest analysis interval that is accepted as written, in seconds; shorter ones become this long.
    #[arg(long, env = "SERIN_MIN_INTERVAL", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=3600))]
    pub min_interval: i64,
    /// Seconds between taking a version off the route and scaling it away.
    #[arg(long, env = "SERIN_DRAIN", default_value_t = 5, value_parser = clap::value_parser!(i64).range(0..=3600))]
    pub drain: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    Json,
    Console,
}

impl From<Encoding> for LogFormat {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json => LogFormat::Json,
            Encoding::Console => LogFormat::Human,
        }
    }
}

impl ControllerArgs {
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Go's single dash means the same as two: `-log-level=info` becomes `--log-level=info`.
pub fn go_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| match arg.to_str() {
            Some(text)
                if text.len() > 2
                    && text.starts_with('-')
                    && text.chars().nth(1).is_some_and(|c| c.is_ascii_alphabetic())
                    // `-n develop` stays; only words are Go flags.
                    && text.chars().nth(2).is_some_and(|c| c.is_ascii_alphabetic()) =>
            {
                OsString::from(format!("-{text}"))
            }
            _ => arg,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        let args =
            ["serin", "controller", "-log-level=debug", "--port", "80", "-n", "x", "-o=json", "-"];
        let fixed = go_dashes(args.map(OsString::from));
        assert_eq!(
            fixed,
            ["serin", "controller", "--log-level=debug", "--port", "80", "-n", "x", "-o=json", "-"]
        );
    }
}
