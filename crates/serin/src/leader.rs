//! One replica acts at a time: a Lease, taken, renewed and given back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;

use crate::clock::SharedClock;

/// A lease that is not renewed for this long is anyone's.
const LEASE_SECS: i32 = 15;
/// A holder that could not renew for this long stops by itself, well before another may start.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// Flagger's Lease, and where its chart and its flag put it: two controllers must not drive one canary.
pub const FLAGGER_LEASE: &str = "flagger-leader-election";

#[derive(Clone)]
pub struct Election {
    pub leases: Api<Lease>,
    pub name: String,
    /// Who we are: host name and a random part.
    pub identity: String,
    pub clock: SharedClock,
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

/// Whether a lease is held by somebody at `now`.
pub fn held(lease: &Lease, now: Timestamp) -> Option<&str> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
    let renewed = spec.renew_time.as_ref()?.0;
    let secs = i64::from(spec.lease_duration_seconds.unwrap_or(LEASE_SECS));
    (now.as_second() < renewed.as_second().saturating_add(secs)).then_some(holder)
}

impl Election {
    /// Takes part until the token of `stop` says so. The returned channel says whether we lead now.
    pub fn run(
        self,
        mut stop: watch::Receiver<bool>,
    ) -> (watch::Receiver<bool>, tokio::task::JoinHandle<()>) {
        let (tell, leads) = watch::channel(false);
        let task = tokio::spawn(async move {
            let election = Arc::new(self);
            let (mut last_renewed, mut ours) = (None, None);
            loop {
                match tokio::time::timeout(RENEW_DEADLINE, election.attempt(&mut ours)).await {
                    Ok(Ok(true)) => {
                        last_renewed = Some(tokio::time::Instant::now());
                        tell.send_if_modified(|leads| !std::mem::replace(leads, true));
                    }
                    Ok(Ok(false)) => {
                        last_renewed = None;
                        tell.send_if_modified(|leads| std::mem::replace(leads, false));
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(error = %crate::outside::chain(&error), "lease not renewed")
                    }
                    Err(_) => tracing::warn!("lease not renewed: no answer in time"),
                }
                if last_renewed.is_some_and(|at| at.elapsed() > RENEW_DEADLINE) {
                    last_renewed = None;
                    tell.send_if_modified(|leads| std::mem::replace(leads, false));
                }
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            let led = *tell.borrow();
            tell.send_if_modified(|leads| std::mem::replace(leads, false));
            if led {
                election.give_back().await;
            }
        });
        (leads, task)
    }

    /// One try: take a free lease or renew ours. `false` when somebody else holds it. `ours` is what our last write
    /// returned: as long as it holds, nobody else may have written, and it is renewed without being read.
    async fn attempt(&self, ours: &mut Option<Lease>) -> Result<bool, LeaseError> {
        let read = |source| LeaseError::Read { name: self.name.clone(), source };
        let now = self.clock.now();
        if let Some(mut lease) =
            ours.take().filter(|lease| held(lease, now) == Some(self.identity.as_str()))
        {
            lease.spec = Some(self.claim(lease.spec.as_ref(), now));
            let written = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
            // Somebody has written all the same, or it is gone: a look at it says more.
            if !matches!(&written, Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409))
            {
                return self.settle(written, ours);
            }
        }
        let Some(mut lease) = self.leases.get_opt(&self.name).await.map_err(read)? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.claim(None, now)),
            };
            return self.settle(self.leases.create(&PostParams::default(), &lease).await, ours);
        };
        if held(&lease, now).is_some_and(|holder| holder != self.identity) {
            return Ok(false);
        }
        lease.spec = Some(self.claim(lease.spec.as_ref(), now));
        self.settle(self.leases.replace(&self.name, &PostParams::default(), &lease).await, ours)
    }

    /// A conflict means that somebody else was faster, which is no error.
    fn settle(
        &self,
        written: kube::Result<Lease>,
        ours: &mut Option<Lease>,
    ) -> Result<bool, LeaseError> {
        match written {
            Ok(lease) => {
                *ours = Some(lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(source) => Err(LeaseError::Write { name: self.name.clone(), source }),
        }
    }

    fn claim(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let ours = before
            .is_some_and(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
        let acquired = before.filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_SECS),
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
