//! What is wrong with the queries of a Canary, as the controller would say it, from the files or by single reads.

use serin_core::model::{Canary, Finding, MetricSource};
use serin_providers::change::SECRET;
use serin_providers::{Aws, Objects, Settings, metric};

use super::look::Look;
use crate::world::METRIC_TEMPLATE;

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
    let missing = format!("is not in {}", look.whom());
    // Who the controller is for others, it knows itself.
    let settings = Settings { aws: Aws::Elsewhere, ..Settings::default() };
    Ok(metric::findings_in(canary, &objects, &settings, &missing))
}
