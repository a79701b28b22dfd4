//! The story itself: the application and its policy, traffic, a release that is good and one that is not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::Store;
use serin_core::model::Key;
use serin_core::status::{Phase, ReasonRecord, Status};
use serin_local::load::{self, Load};
use tokio::time::{Instant, MissedTickBehavior};

use super::summary::{BAD, GOOD, Release, Summary};
use super::view::{Frame, View};
use crate::lab::local::get::get;
use crate::lab::local::{Cluster, manifest};
use crate::operator::context::Context;

const NAMESPACE: &str = "develop";
const NAME: &str = "backend";
pub(super) const OLD: &str = "v1";

/// The same files that users apply by hand.
const MANIFESTS: [&str; 5] = [
    include_str!("../../../../../examples/sre/00-namespace.yaml"),
    include_str!("../../../../../examples/sre/10-backend.yaml"),
    include_str!("../../../../../examples/sre/20-route.yaml"),
    include_str!("../../../../../examples/sre/30-metrics.yaml"),
    include_str!("../../../../../examples/sre/40-canary.yaml"),
];

/// The policy of the example, but six seconds a step instead of ten: nobody watches for two minutes.
const INTERVAL: &str = "6s";
/// Long enough for some scrapes, which are a second apart.
const WINDOW: &str = "5s";

/// Far more than a slow machine needs; after it the story has failed.
const SETUP_MAX: Duration = Duration::from_secs(60);
const RELEASE_MAX: Duration = Duration::from_secs(120);
/// The running version alone, for a base of figures to compare with.
const BEFORE: Duration = Duration::from_secs(3);
/// For the last slow answers of a release that has no traffic.
const AFTER: Duration = Duration::from_secs(2);
/// Smooth to the eye.
const REDRAW: Duration = Duration::from_millis(150);

pub(super) struct Story {
    store: Store,
    operator: Option<Arc<Context>>,
    url: String,
    rate: u32,
    begun: Instant,
}

impl Story {
    pub(super) fn new(cluster: &Cluster, rate: u32) -> anyhow::Result<Self> {
        let url = cluster.gateway_url();
        let (store, operator) = (cluster.store().clone(), cluster.operator());
        Ok(Self { store, operator, url, rate, begun: Instant::now() })
    }

    /// Tells it from start to end. The traffic goes on, for whoever wants to keep the cluster.
    pub(super) async fn tell(&self, view: &mut View) -> anyhow::Result<(Summary, Load)> {
        view.line(&format!(
            "{NAME} {OLD} goes to namespace {NAMESPACE}, with its route and its policy."
        ))?;
        self.set_up()?;
        self.until(view, SETUP_MAX, "Setting up", None, |status| {
            status.phase == Some(Phase::Initialized)
        })
        .await
        .context("the primary did not become ready")?;
        self.until_served().await?;
        view.line(&format!("{} requests per second come in at {}.", self.rate, self.url))?;
        let url = self.url.parse().context("cannot read the gateway's address")?;
        let load = load::run(load::Options::new(url, f64::from(self.rate)))?;
        self.watch(view, &load, BEFORE, "Only the old version").await?;

        let promoted = self.release(view, &load, GOOD, "A good release").await?;
        let after_good = load.snapshot();
        let rolled_back = self.release(view, &load, BAD, "A bad release").await?;
        self.watch(view, &load, AFTER, "Back on the good version").await?;
        let summary = Summary {
            releases: vec![promoted, rolled_back],
            after_good,
            load: load.snapshot(),
            took: self.begun.elapsed(),
        };
        Ok((summary, load))
    }

    fn set_up(&self) -> anyhow::Result<()> {
        for text in MANIFESTS {
            for mut object in manifest::documents(text)? {
                if object["kind"] == "Canary" {
                    hasten(&mut object);
                }
                manifest::apply(&self.store, &object)?;
            }
        }
        Ok(())
    }

    /// Until the gateway answers for the application.
    async fn until_served(&self) -> anyhow::Result<()> {
        let served = async {
            while !matches!(get(&self.url).await, Ok((status, _)) if status.is_success()) {
                tokio::time::sleep(REDRAW).await;
            }
        };
        tokio::time::timeout(SETUP_MAX, served)
            .await
            .context("the gateway does not serve the application")
    }

    /// Sets an image and follows the release to its end.
    async fn release(
        &self,
        view: &mut View,
        load: &Load,
        version: &'static str,
        title: &str,
    ) -> anyhow::Result<Release> {
        let title = format!("{title}: {version}");
        view.line(&format!("{title} (kubectl set image -n {NAMESPACE} deployment/{NAME} {NAME}=local/{NAME}:{version})"))?;
        let begun = Instant::now();
        let before = self.status().last_applied_spec;
        manifest::set_image(
            &self.store,
            NAMESPACE,
            NAME,
            NAME,
            &format!("local/{NAME}:{version}"),
        )?;
        let over = |status: &Status| {
            status.last_applied_spec != before
                && matches!(status.phase, Some(Phase::Succeeded | Phase::Failed))
        };
        let status = self.until(view, RELEASE_MAX, &title, Some((load, version)), over).await?;
        Ok(Release {
            version,
            phase: status.phase,
            reason: status.last_reason.unwrap_or_default(),
            took: begun.elapsed(),
        })
    }

    /// Shows the canary until it is as wanted; the last status seen, also when there is no time left.
    async fn until(
        &self,
        view: &mut View,
        at_most: Duration,
        title: &str,
        traffic: Option<(&Load, &str)>,
        done: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let end = Instant::now() + at_most;
        let mut changed = self.store.changed();
        let mut redraw = tokio::time::interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            changed.mark_unchanged();
            let status = self.status();
            self.show(view, title, &status, traffic)?;
            if done(&status) || Instant::now() >= end {
                return Ok(status);
            }
            tokio::select! {
                _ = redraw.tick() => {}
                alive = changed.changed() => alive.context("the cluster is gone")?,
            }
        }
    }

    /// Shows the canary for a while.
    async fn watch(
        &self,
        view: &mut View,
        load: &Load,
        long: Duration,
        title: &str,
    ) -> anyhow::Result<()> {
        self.until(view, long, title, Some((load, "")), |_| false).await.map(drop)
    }

    fn show(
        &self,
        view: &mut View,
        title: &str,
        status: &Status,
        traffic: Option<(&Load, &str)>,
    ) -> anyhow::Result<()> {
        let (load, canary) = match traffic {
            Some((load, canary)) => (Some(load.snapshot()), canary),
            None => (None, ""),
        };
        let elapsed = self.begun.elapsed();
        let evidence = self.operator.as_ref().and_then(|operator| {
            operator.guards.line(&Key { namespace: NAMESPACE.to_owned(), name: NAME.to_owned() })
        });
        let (load, evidence) = (load.as_ref(), evidence.as_deref());
        view.show(&Frame { elapsed, title, status, load, canary, evidence })?;
        Ok(())
    }

    /// What the Canary says of itself; nothing, before it says anything.
    fn status(&self) -> Status {
        let id = ResourceId::new("flagger.app", "canaries");
        let canary = self.store.get(&id, NAMESPACE, NAME);
        let status = canary.as_ref().and_then(|canary| canary.get("status")).cloned();
        match status.map(serde_json::from_value) {
            Some(Ok(status)) => status,
            Some(Err(error)) => {
                let message = format!("the status cannot be read: {error}");
                let reason = ReasonRecord { message, ..ReasonRecord::default() };
                Status { last_reason: Some(reason), ..Status::default() }
            }
            None => Status::default(),
        }
    }
}

/// Sets the step clock of a Canary, and the window of its metrics, for a demonstration.
fn hasten(canary: &mut Value) {
    canary["spec"]["analysis"]["interval"] = json!(INTERVAL);
    for metric in canary["spec"]["analysis"]["metrics"].as_array_mut().into_iter().flatten() {
        metric["interval"] = json!(WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_examples_but_for_its_pace() {
        let mut canary = manifest::documents(MANIFESTS[4]).unwrap().remove(0);
        hasten(&mut canary);
        let analysis = &canary["spec"]["analysis"];
        assert_eq!(analysis["stepWeights"], json!([5, 10, 20, 30, 40, 50]));
        assert_eq!(analysis["interval"], "6s");
        assert_eq!(analysis["metrics"][1]["interval"], "5s");
        assert_eq!(analysis["metrics"][1]["thresholdRange"]["max"], 500);
    }
}
