//! What is wrong with the queries and alerts of a Canary, as the controller would say it, from the files or by single reads.

use serin_core::model::{Canary, Finding, MetricSource};
use serin_providers::change::SECRET;
use serin_providers::{Aws, Objects, Settings, metric, notify};

use super::look::Look;
use crate::cache::{ALERT_PROVIDER, METRIC_TEMPLATE};

/// The controller's own list. What the files do not have may well be in a cluster that nobody asked.
pub(crate) async fn findings(canary: &Canary, look: &Look<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut objects = Objects::new();
    for source in canary.spec.analysis.metrics.iter().flat_map(|metric| &metric.sources) {
        let MetricSource::Template { namespace, name, variables: _ } = source else { continue };
        let template = METRIC_TEMPLATE.named(namespace, name);
        let seen = look.find(&template).await?;
        let secret = seen.present().and_then(|object| {
            let name = object.pointer("/spec/provider/secretRef/name")?.as_str()?;
            Some(SECRET.named(namespace, name))
        });
        objects.put(template, seen);
        if let Some(secret) = secret {
            let seen = look.find(&secret).await?;
            objects.put(secret, seen);
        }
    }
    for alert in &canary.spec.analysis.alerts {
        let provider = ALERT_PROVIDER.named(&alert.provider_namespace, &alert.provider_name);
        let seen = look.find(&provider).await?;
        let name =
            seen.present().and_then(|object| object.pointer("/spec/secretRef/name")?.as_str());
        if let Some(name) = name {
            let secret = SECRET.named(&alert.provider_namespace, name);
            let seen = look.find(&secret).await?;
            objects.put(secret, seen);
        }
        objects.put(provider, seen);
    }
    let missing = format!("is not in {}", look.whom());
    // Who the controller is for others, it knows itself.
    let settings = Settings { aws: Aws::Elsewhere, ..Settings::default() };
    let mut found = metric::findings_in(canary, &objects, &settings, &missing);
    found.extend(notify::findings_in(canary, &objects, &missing));
    Ok(found)
}
