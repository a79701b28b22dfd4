//! What the operator's flags say about how objects are read and written.

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
            metrics_server: "http://prometheus:9090".to_owned(),
        }
    }
}
