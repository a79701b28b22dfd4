//! One replica acts at a time: a Lease, taken, renewed and given back.
//!
//! No clock is compared with another's: a lease is free when nobody was *seen* to change it for as long as it says. Who
//! waits for it watches it and asks for nothing; who holds it renews it often only while something is released.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::http_client::chain;

/// How long a lease lasts, how often it is renewed, and after which time without success its holder stops by itself, well
/// before another may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    lasts_secs: i32,
    renewed_each: Duration,
    given_up_after: Duration,
}

/// While something is released a crash must not cost much, and an API server may hang for some seconds.
const BUSY: Terms = Terms {
    lasts_secs: 8,
    renewed_each: Duration::from_secs(2),
    given_up_after: Duration::from_secs(6),
};
/// At rest it costs nothing but that the next release may begin later.
const IDLE: Terms = Terms {
    lasts_secs: 15,
    renewed_each: Duration::from_secs(5),
    given_up_after: Duration::from_secs(10),
};
/// How soon whatever failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What others may write into a lease is not waited for longer than this.
const LASTS_MAX_SECS: i32 = 60;
const ONE_TRY: Duration = Duration::from_secs(5);

/// Flagger's Lease, and where its chart and its flag put it: two controllers must not drive one canary.
pub const FLAGGER_LEASE: &str = "flagger-leader-election";

pub struct Election {
    pub leases: Api<Lease>,
    pub name: String,
    /// Who we are: host name and a random part.
    pub identity: String,
    pub clock: SharedClock,
    /// Whether something is being released.
    pub busy: watch::Receiver<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("cannot read the lease {name}")]
    Read {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("cannot write the lease {name}")]
    Write {
        name: String,
        #[source]
        source: kube::Error,
    },
}

/// What was seen of a lease, and when it was last seen to change.
#[derive(Debug, Default)]
pub struct LeaseView {
    spec: Option<LeaseSpec>,
    changed: Option<Instant>,
}

impl LeaseView {
    /// Takes a look at it.
    pub fn see(&mut self, lease: &Lease) {
        if self.changed.is_none() || self.spec != lease.spec {
            self.spec.clone_from(&lease.spec);
            self.changed = Some(Instant::now());
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Who holds it, as far as is known, and until when if nothing more is heard.
    pub fn holder(&self) -> Option<(&str, Instant)> {
        let spec = self.spec.as_ref()?;
        let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
        let lasts = spec.lease_duration_seconds.unwrap_or(IDLE.lasts_secs);
        let lasts = u64::try_from(lasts.clamp(1, LASTS_MAX_SECS)).unwrap_or(1);
        let until = self.changed? + Duration::from_secs(lasts);
        (Instant::now() < until).then_some((holder, until))
    }
}

/// A lease that we hold.
struct Ours {
    lease: Lease,
    terms: Terms,
    /// When its last renewal was begun.
    since: Instant,
}

impl Election {
    /// Takes part until `stop` says so. The returned channel says whether we lead now.
    pub fn run(
        self,
        mut stop: watch::Receiver<bool>,
    ) -> (watch::Receiver<bool>, tokio::task::JoinHandle<()>) {
        let (tell, leads) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut election = self;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = election.campaign(&tell) => {}
            }
            if tell.send_replace(false) {
                election.give_back().await;
            }
        });
        (leads, task)
    }

    /// Waits for the lease and holds it, again and again.
    async fn campaign(&mut self, tell: &watch::Sender<bool>) {
        loop {
            let ours = self.win().await;
            tell.send_replace(true);
            self.hold(ours).await;
            tell.send_replace(false);
        }
    }

    /// Waits until the lease is free, and takes it.
    async fn win(&self) -> Ours {
        let mut view = LeaseView::default();
        let mut changes = self.changes();
        loop {
            match tokio::time::timeout(ONE_TRY, self.attempt(&mut view)).await {
                Ok(Ok(Some(ours))) => return ours,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(error = %chain(&error), "lease not taken"),
                Err(_) => tracing::warn!(within = ?ONE_TRY, "lease not taken: no answer"),
            }
            if view.holder().is_some() {
                free(&mut changes, &mut view).await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// The lease as it changes. A watch that is not allowed or breaks says nothing: it is looked at when it should be free.
    fn changes(&self) -> BoxStream<'static, watcher::Result<watcher::Event<Lease>>> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.leases.clone(), config).default_backoff().boxed()
    }

    /// Renews the lease until it is lost.
    async fn hold(&mut self, mut ours: Ours) {
        loop {
            let due = ours.since + ours.terms.renewed_each;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {}
                // What begins now is to be held on the terms of a release.
                () = begins(&mut self.busy), if ours.terms == IDLE => {}
            }
            let deadline = ours.since + ours.terms.given_up_after;
            loop {
                let ended = match tokio::time::timeout_at(deadline, self.renew(&ours)).await {
                    Ok(Ok(Some(renewed))) => {
                        ours = renewed;
                        break;
                    }
                    Ok(Ok(None)) => Some("another replica has it"),
                    Ok(Err(error)) => {
                        tracing::warn!(error = %chain(&error), "lease not renewed");
                        None
                    }
                    Err(_) => Some("no answer in time"),
                };
                if let Some(why) = ended {
                    tracing::warn!(why, "the lease is lost");
                    return;
                }
                if Instant::now() + RETRY >= deadline {
                    tracing::warn!(why = "not renewed in time", "the lease is lost");
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn terms(&self) -> Terms {
        if *self.busy.borrow() { BUSY } else { IDLE }
    }

    /// One try to take a free lease; none when another client holds it.
    async fn attempt(&self, view: &mut LeaseView) -> Result<Option<Ours>, LeaseError> {
        let read = |source| LeaseError::Read { name: self.name.clone(), source };
        let (since, terms, now) = (Instant::now(), self.terms(), self.clock.now());
        let Some(mut lease) = self.leases.get_opt(&self.name).await.map_err(read)? else {
            view.forget();
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.claim(None, terms, now)),
            };
            let written = self.leases.create(&PostParams::default(), &lease).await;
            return self.settle(written, terms, since);
        };
        view.see(&lease);
        if view.holder().is_some_and(|(holder, _)| holder != self.identity) {
            return Ok(None);
        }
        lease.spec = Some(self.claim(lease.spec.as_ref(), terms, now));
        let written = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        self.settle(written, terms, since)
    }

    /// Renews it without reading it: while no other may write, our last write is what is there. None when it is lost.
    async fn renew(&self, ours: &Ours) -> Result<Option<Ours>, LeaseError> {
        let (since, terms) = (Instant::now(), self.terms());
        let mut lease = ours.lease.clone();
        lease.spec = Some(self.claim(lease.spec.as_ref(), terms, self.clock.now()));
        let written = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        if !matches!(&written, Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409)) {
            return self.settle(written, terms, since);
        }
        // Somebody has written all the same, it is gone, or a write of ours was carried out unheard.
        let mut view = LeaseView::default();
        self.attempt(&mut view).await
    }

    /// A conflict means that another client was faster, which is no error.
    fn settle(
        &self,
        written: kube::Result<Lease>,
        terms: Terms,
        since: Instant,
    ) -> Result<Option<Ours>, LeaseError> {
        match written {
            Ok(lease) => Ok(Some(Ours { lease, terms, since })),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(source) => Err(LeaseError::Write { name: self.name.clone(), source }),
        }
    }

    fn claim(&self, before: Option<&LeaseSpec>, terms: Terms, now: Timestamp) -> LeaseSpec {
        let ours = before
            .is_some_and(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
        let acquired = before.filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(terms.lasts_secs),
            acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    /// So that the next replica need not wait for the lease to run out.
    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await else { return };
        let Some(spec) = lease.spec.as_mut() else { return };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        spec.holder_identity = None;
        spec.renew_time = None;
        if let Err(error) = self.leases.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::debug!(%error, "lease not given back; it will run out");
        }
    }
}

/// Ends when something is being released.
async fn begins(busy: &mut watch::Receiver<bool>) {
    if busy.wait_for(|busy| *busy).await.is_err() {
        // Nobody will say so any more.
        std::future::pending::<()>().await;
    }
}

/// Ends when the lease should be free: nobody has it, or nothing was heard of who has it for too long.
async fn free(
    changes: &mut BoxStream<'static, watcher::Result<watcher::Event<Lease>>>,
    view: &mut LeaseView,
) {
    loop {
        let until = view.holder().map(|(_, until)| until);
        tokio::select! {
            biased;
            change = changes.next() => match change {
                Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease))) => {
                    view.see(&lease);
                    if view.holder().is_none() {
                        return;
                    }
                }
                Some(Ok(watcher::Event::Delete(_))) => return,
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_)) => {}
                None => return,
            },
            () = async { tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await },
                if until.is_some() => return,
        }
    }
}
