//! What the operator's flags say about how objects are read and written.

use std::fmt;

/// The controller's own identity at Amazon, as its surroundings give it. What it reads of it is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Aws {
    #[default]
    NoCredentials,
    /// Keys that are given as they are.
    Keys(AwsKeys),
    /// A token that is exchanged for keys at the token service (IAM roles for service accounts).
    WebIdentity { role: String, session: String },
    /// An address on the node that has keys for who shows the token, where there is one (EKS Pod Identity, ECS).
    Container { url: String, has_token: bool },
    /// Another process has it, so it is not known here.
    Elsewhere,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AwsKeys {
    pub id: String,
    pub secret: String,
    /// Of keys that end.
    pub session_token: Option<String>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKeys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aws::NoCredentials => "NoCredentials",
            Aws::Keys(_) => "Keys",
            Aws::WebIdentity { .. } => "WebIdentity",
            Aws::Container { .. } => "Container",
            Aws::Elsewhere => "Elsewhere",
        })
    }
}

/// Flagger's flags of the same names, and its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Labels that may tell the target's pods from the primary's, the first that the target's selector has wins.
    pub selector_labels: Vec<String>,
    /// Prefixes of metadata keys that are copied from the target to what is generated; `*` copies all.
    pub include_label_prefixes: Vec<String>,
    /// ConfigMaps and Secrets of the target are tracked and copied for the primary.
    pub track_configs: bool,
    /// Named first in alerts; empty leaves it out.
    pub cluster_name: String,
    /// Who the controller is for Amazon's services, where a template names no Secret.
    pub aws: Aws,
    /// URL of the Prometheus for builtin and inline queries when the Canary names none.
    pub metrics_server: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            selector_labels: ["app", "name", "app.kubernetes.io/name"].map(str::to_owned).to_vec(),
            include_label_prefixes: Vec::new(),
            track_configs: true,
            cluster_name: String::new(),
            aws: Aws::NoCredentials,
            metrics_server: "http://prometheus:9090".to_owned(),
        }
    }
}
