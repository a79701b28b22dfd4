//! Tells people: Events, event hooks, alerts, post-rollout hooks. On a queue of its own, so that no tick ever waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use serin_core::model::{AlertRef, Canary, HookKind, Key, Webhook};
use serin_core::observed::Answer;
use serin_core::parse;
use serin_core::plan::{Alert, Notice};
use serin_providers::change::SECRET;
use serin_providers::{hook, notify};
use tokio::sync::{Semaphore, mpsc};

use crate::ask::{manner, send_with_retries};
use crate::clock::SharedClock;
use crate::controller::Settings;
use crate::events::{Events, Subject};
use crate::outside::{Outside, chain};
use crate::world::{ALERT_PROVIDER, resource, to_value};

/// Ticks whose news wait to be told. When it is full the newest are dropped and logged: telling must not grow without bound.
const QUEUE_MAX: usize = 1024;
/// Receivers spoken to at once.
const SPEAKERS_MAX: usize = 16;
/// How long a shutdown waits for the last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The news of one tick.
struct News {
    /// None where nothing of it makes sense but its name: then there is only an Event.
    canary: Option<Canary>,
    subject: Subject,
    notices: Vec<Notice>,
    calls: Vec<usize>,
    time: Timestamp,
}

/// Takes news; a task behind it tells them in order.
pub struct Teller {
    /// None once it takes no more.
    queue: Mutex<Option<mpsc::Sender<Box<News>>>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct Speaker {
    client: Client,
    outside: Arc<dyn Outside>,
    events: Events,
    settings: Settings,
    slots: Arc<Semaphore>,
}

impl Teller {
    pub fn start(
        client: Client,
        clock: SharedClock,
        outside: Arc<dyn Outside>,
        settings: &Settings,
    ) -> Self {
        let (queue, mut news) = mpsc::channel::<Box<News>>(QUEUE_MAX);
        let events = Events::new(client.clone(), clock, settings.instance.clone());
        let speaker = Arc::new(Speaker {
            client,
            outside,
            events,
            settings: settings.clone(),
            slots: Arc::new(Semaphore::new(SPEAKERS_MAX)),
        });
        let task = tokio::spawn(async move {
            while let Some(item) = news.recv().await {
                speaker.tell(*item).await;
            }
            // The last words of the shutdown: all slots free again means that everybody has been told.
            let all = u32::try_from(SPEAKERS_MAX).unwrap_or(1);
            drop(tokio::time::timeout(LAST_WORDS, speaker.slots.acquire_many(all)).await);
        });
        Self { queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)) }
    }

    pub fn tell(
        &self,
        canary: &Canary,
        object: &DynamicObject,
        notices: Vec<Notice>,
        calls: Vec<usize>,
        time: Timestamp,
    ) {
        if notices.is_empty() && calls.is_empty() {
            return;
        }
        let subject = subject(&canary.key, &canary.uid, object);
        self.send(News { canary: Some(canary.clone()), subject, notices, calls, time });
    }

    /// Events alone, of an object whose spec says nothing of hooks and alerts that could be trusted.
    pub fn announce(
        &self,
        key: &Key,
        uid: &str,
        object: &DynamicObject,
        notices: Vec<Notice>,
        time: Timestamp,
    ) {
        if !notices.is_empty() {
            let subject = subject(key, uid, object);
            self.send(News { canary: None, subject, notices, calls: Vec::new(), time });
        }
    }

    fn send(&self, news: News) {
        let canary = Key::new(&news.subject.namespace, &news.subject.name);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = queue.as_ref().map(|queue| queue.try_send(Box::new(news))) {
            tracing::warn!(%canary, %error, "news dropped: receivers are too slow");
        }
    }

    /// Takes no more news and waits, within bounds, until the rest is told.
    pub async fn finish(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(tokio::time::timeout(LAST_WORDS * 2, task).await);
        }
    }
}

fn subject(key: &Key, uid: &str, object: &DynamicObject) -> Subject {
    Subject {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: uid.to_owned(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
    }
}

impl Speaker {
    async fn tell(self: &Arc<Self>, news: News) {
        let News { canary, subject, notices, calls, time } = news;
        for notice in &notices {
            if let Err(error) = self.events.publish(&subject, notice).await {
                let name = &subject.name;
                tracing::warn!(%name, error = %chain(&error), message = %notice.message, "Event not written");
            }
            let Some(canary) = &canary else { continue };
            self.event_hooks(canary, notice, time).await;
            if let Some(alert) = &notice.alert {
                self.alert(canary, alert).await;
            }
        }
        let Some(canary) = canary else { return };
        if !calls.is_empty() {
            if serin_core::mutant!(TellTwice) {
                let calls = calls.clone();
                self.post_rollout(canary.clone(), subject.clone(), calls).await;
            }
            self.post_rollout(canary, subject, calls).await;
        }
    }

    async fn event_hooks(self: &Arc<Self>, canary: &Canary, notice: &Notice, time: Timestamp) {
        let own: Vec<&Webhook> = canary
            .spec
            .analysis
            .webhooks
            .iter()
            .filter(|hook| hook.kind == HookKind::Event)
            .collect();
        let global = self
            .settings
            .event_webhook
            .as_deref()
            .filter(|_| own.is_empty())
            .map(hook::global_event_hook);
        for webhook in own.into_iter().chain(global.as_ref()) {
            let note = hook::EventNote { message: &notice.message, warning: notice.warning };
            match hook::event_call(canary, webhook, &canary.status, note, time) {
                Ok(call) => {
                    let (retries, key, name) =
                        (webhook.retries, canary.key.clone(), webhook.name.clone());
                    self.speak(move |speaker| async move {
                        if let Err(error) = send_with_retries(speaker.outside.as_ref(), call, retries).await {
                            tracing::warn!(canary = %key, hook = %name, %error, "event hook failed");
                        }
                    })
                    .await;
                }
                Err(error) => tracing::warn!(canary = %canary.key, %error, "event hook not called"),
            }
        }
    }

    async fn alert(self: &Arc<Self>, canary: &Canary, alert: &Alert) {
        let wanted = canary.spec.analysis.alerts.iter();
        for reference in
            wanted.filter(|reference| notify::is_wanted(reference.severity, alert.severity))
        {
            let (reference, canary, alert) = (reference.clone(), canary.clone(), alert.clone());
            self.speak(move |speaker| async move {
                if let Err(why) = speaker.send_alert(&canary, &reference, &alert).await {
                    tracing::warn!(canary = %canary.key, alert = %reference.name, %why, "alert not sent");
                }
            })
            .await;
        }
    }

    async fn send_alert(
        &self,
        canary: &Canary,
        reference: &AlertRef,
        alert: &Alert,
    ) -> Result<(), String> {
        let AlertRef { name: _, severity: _, provider_namespace, provider_name } = reference;
        let object = self.read(&ALERT_PROVIDER, provider_namespace, provider_name).await?;
        let provider = parse::alert_provider(&object).map_err(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })?;
        let secret = match &provider.secret {
            Some(name) => Some(self.read(&SECRET, provider_namespace, name).await?),
            None => None,
        };
        let message = notify::message(
            canary,
            &alert.message,
            alert.severity,
            alert.with_fields,
            &self.settings.providers,
        );
        let call = notify::call(&provider, secret.as_ref(), &message)
            .map_err(|error| error.to_string())?;
        let manner = manner(&call);
        let response =
            self.outside.send(call.request, manner).await.map_err(|error| error.to_string())?;
        notify::outcome(&response).map_err(|error| error.to_string())
    }

    async fn read(
        &self,
        kind: &serin_providers::Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Value, String> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
        let object = api.get(name).await.map_err(|error| {
            format!("cannot read {} {namespace}/{name}: {}", kind.kind, chain(&error))
        })?;
        to_value(&object).ok_or_else(|| format!("cannot encode {} {namespace}/{name}", kind.kind))
    }

    /// `post-rollout` hooks, in order; the first that fails ends it. Their answers change nothing.
    async fn post_rollout(self: &Arc<Self>, canary: Canary, subject: Subject, calls: Vec<usize>) {
        self.speak(move |speaker| async move {
            for index in calls {
                let Some(webhook) = canary.spec.analysis.webhooks.get(index) else { continue };
                let answer = match hook::call(&canary, webhook, &canary.status) {
                    Ok(call) => match send_with_retries(speaker.outside.as_ref(), call, webhook.retries).await {
                        Ok(response) => hook::outcome(&response),
                        Err(error) => Answer::Unreachable(error.to_string()),
                    },
                    Err(error) => Answer::Unreachable(error.to_string()),
                };
                let name = &webhook.name;
                let (warning, reason, message) = match answer {
                    Answer::Approved => (false, "HookPassed", format!("Post-rollout check {name} passed")),
                    Answer::Refused(why) | Answer::Unreachable(why) | Answer::NoData(why) => {
                        (true, "HookFailed", format!("Post-rollout hook {name} failed {why}"))
                    }
                    Answer::Value(value) => (true, "HookFailed", format!("Post-rollout hook {name} answered {value}")),
                };
                let notice = Notice { warning, reason, message, alert: None };
                if let Err(error) = speaker.events.publish(&subject, &notice).await {
                    tracing::warn!(canary = %canary.key, error = %chain(&error), "Event not written");
                }
                if warning {
                    return;
                }
            }
        })
        .await;
    }

    /// Runs beside the queue, a bounded number at once.
    async fn speak<F, Fut>(self: &Arc<Self>, speech: F)
    where
        F: FnOnce(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let speaker = Arc::clone(self);
        tokio::spawn(async move {
            speech(speaker).await;
            drop(slot);
        });
    }
}
