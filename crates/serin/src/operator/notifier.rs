//! Tells people: Events, event hooks, alerts, post-rollout hooks. On a queue of its own, so that no tick ever waits for it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use serin_core::model::{AlertRef, Canary, HookKind, Key, Webhook};
use serin_core::observed::Answer;
use serin_core::parse;
use serin_core::plan::{Alert, Notice};
use serin_core::reason::Reason;
use serin_core::words::{SENTENCE_MAX, line};
use serin_providers::change::SECRET;
use serin_providers::{hook, notify};
use tokio::sync::{Semaphore, mpsc};

use crate::cache::{ALERT_PROVIDER, resource, to_value};
use crate::clock::SharedClock;
use crate::http_client::retry::{options, send_with_retries};
use crate::http_client::{HttpClient, chain};
use crate::operator::events::{Events, Subject};
use crate::operator::settings::Settings;

/// Ticks whose news wait to be told. When it is full the newest are dropped and logged: telling must not grow without bound.
const QUEUE_MAX: usize = 1024;
/// Receivers spoken to at once, of all canaries: what bounds memory where all of them hang.
const SPEAKERS_MAX: usize = 4096;
/// Receivers of one canary spoken to at once: whose receivers hang loses its own news and no other's.
const SPEAKERS_EACH: usize = 16;
/// How long an Event may take.
const EVENT_WAIT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for the last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The news of one tick.
struct News {
    /// None where nothing of it is valid but its name: then there is only an Event.
    canary: Option<Canary>,
    subject: Subject,
    notices: Vec<Notice>,
    calls: Vec<usize>,
    time: Timestamp,
}

/// Takes news; a task behind it tells them in order.
pub struct Notifier {
    /// None once it takes no more.
    queue: Mutex<Option<mpsc::Sender<Box<News>>>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct Speaker {
    client: Client,
    http_client: Arc<dyn HttpClient>,
    events: Events,
    settings: Settings,
    subscriptions: Arc<Semaphore>,
    /// Receivers that are being spoken to, by canary.
    busy: Mutex<BTreeMap<Key, usize>>,
}

impl Notifier {
    pub fn start(
        client: Client,
        clock: SharedClock,
        http_client: Arc<dyn HttpClient>,
        settings: &Settings,
    ) -> Self {
        let (queue, mut news) = mpsc::channel::<Box<News>>(QUEUE_MAX);
        let events = Events::new(client.clone(), clock, settings.instance.clone());
        let speaker = Arc::new(Speaker {
            client,
            http_client,
            events,
            settings: settings.clone(),
            subscriptions: Arc::new(Semaphore::new(SPEAKERS_MAX)),
            busy: Mutex::default(),
        });
        let task = tokio::spawn(async move {
            while let Some(item) = news.recv().await {
                speaker.tell(*item).await;
            }
            // The last words of the shutdown: all subscriptions free again means that everybody has been told.
            let all = u32::try_from(SPEAKERS_MAX).unwrap_or(1);
            drop(tokio::time::timeout(LAST_WORDS, speaker.subscriptions.acquire_many(all)).await);
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
        let subject = subject(&canary.key, &canary.uid, object, release(canary));
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
            let subject = subject(key, uid, object, String::new());
            self.send(News { canary: None, subject, notices, calls: Vec::new(), time });
        }
    }

    fn send(&self, news: News) {
        let canary = Key::new(&news.subject.namespace, &news.subject.name);
        let queue = self.queue.lock();
        if let Some(Err(error)) = queue.as_ref().map(|queue| queue.try_send(Box::new(news))) {
            tracing::warn!(%canary, %error, "news dropped: receivers are too slow");
        }
    }

    /// Takes no more news and waits, within bounds, until the rest is told.
    pub async fn finish(&self) {
        self.queue.lock().take();
        let task = self.task.lock().take();
        if let Some(task) = task {
            drop(tokio::time::timeout(LAST_WORDS * 2, task).await);
        }
    }
}

/// Tells one release from another of the same revision.
fn release(canary: &Canary) -> String {
    let began = canary.status.analysis_start_time.map(|time| time.to_string());
    format!("{} {}", canary.status.last_applied_spec, began.unwrap_or_default())
}

fn subject(key: &Key, uid: &str, object: &DynamicObject, release: String) -> Subject {
    Subject {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: uid.to_owned(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        release,
    }
}

impl Speaker {
    async fn tell(self: &Arc<Self>, news: News) {
        let News { canary, subject, notices, calls, time } = news;
        for notice in &notices {
            let key = Key::new(&subject.namespace, &subject.name);
            self.publish(&key, &subject, notice).await;
            let Some(canary) = &canary else { continue };
            self.event_hooks(canary, notice, time);
            if let Some(alert) = &notice.alert {
                self.alert(canary, alert);
            }
        }
        let Some(canary) = canary else { return };
        if !calls.is_empty() {
            self.post_rollout(canary, subject, calls);
        }
    }

    async fn publish(&self, key: &Key, subject: &Subject, notice: &Notice) {
        // An API server that hangs must not keep everybody's news.
        let written = tokio::time::timeout(EVENT_WAIT, self.events.publish(subject, notice)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {EVENT_WAIT:?}"),
        };
        tracing::warn!(canary = %key, error, message = %notice.message, "Event not written");
    }

    fn event_hooks(self: &Arc<Self>, canary: &Canary, notice: &Notice, time: Timestamp) {
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
                    self.speak(&canary.key, move |speaker| async move {
                        if let Err(error) = send_with_retries(speaker.http_client.as_ref(), call, retries).await {
                            tracing::warn!(canary = %key, hook = %name, error = %chain(&error), "event hook failed");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(canary = %canary.key, error = %chain(&error), "event hook not called")
                }
            }
        }
    }

    fn alert(self: &Arc<Self>, canary: &Canary, alert: &Alert) {
        let wanted = canary.spec.analysis.alerts.iter();
        for reference in
            wanted.filter(|reference| notify::is_wanted(reference.severity, alert.severity))
        {
            let key = canary.key.clone();
            let (reference, canary, alert) = (reference.clone(), canary.clone(), alert.clone());
            self.speak(&key, move |speaker| async move {
                if let Err(why) = speaker.send_alert(&canary, &reference, &alert).await {
                    let why = line(&why, SENTENCE_MAX);
                    tracing::warn!(canary = %canary.key, alert = %reference.name, %why, "alert not sent");
                }
            });
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
        let options = options(&call);
        let response = self
            .http_client
            .send(call.request, options)
            .await
            .map_err(|error| error.to_string())?;
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
    fn post_rollout(self: &Arc<Self>, canary: Canary, subject: Subject, calls: Vec<usize>) {
        let key = canary.key.clone();
        self.speak(&key, move |speaker| async move {
            for index in calls {
                let Some(webhook) = canary.spec.analysis.webhooks.get(index) else { continue };
                let answer = match hook::call(&canary, webhook, &canary.status) {
                    Ok(call) => {
                        match send_with_retries(speaker.http_client.as_ref(), call, webhook.retries)
                            .await
                        {
                            Ok(response) => hook::outcome(&response),
                            Err(error) => Answer::Unreachable(chain(&error)),
                        }
                    }
                    Err(error) => Answer::Unreachable(chain(&error)),
                };
                let name = &webhook.name;
                let (warning, reason, message) = match answer {
                    Answer::Approved => {
                        (false, Reason::HookPassed, format!("Post-rollout check {name} passed"))
                    }
                    Answer::Refused(why) | Answer::Unreachable(why) | Answer::NoData(why) => {
                        (true, Reason::HookFailed, format!("Post-rollout hook {name} failed {why}"))
                    }
                    Answer::Value(value) => (
                        true,
                        Reason::HookFailed,
                        format!("Post-rollout hook {name} answered {value}"),
                    ),
                };
                let notice = Notice { warning, reason, message, alert: None };
                speaker.publish(&canary.key, &subject, &notice).await;
                if warning {
                    return;
                }
            }
        });
    }

    /// Runs beside the queue, which never waits for it. What is too much for a canary's receivers is not said.
    fn speak<F, Fut>(self: &Arc<Self>, key: &Key, speech: F)
    where
        F: FnOnce(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut busy = self.busy.lock();
        let count = busy.get(key).copied().unwrap_or_default();
        let subscription = Arc::clone(&self.subscriptions).try_acquire_owned().ok();
        let Some(subscription) = subscription.filter(|_| count < SPEAKERS_EACH) else {
            tracing::warn!(canary = %key, "news dropped: the receivers are too slow");
            return;
        };
        busy.insert(key.clone(), count + 1);
        let (speaker, key) = (Arc::clone(self), key.clone());
        tokio::spawn(async move {
            speech(Arc::clone(&speaker)).await;
            let mut busy = speaker.busy.lock();
            match busy.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(busy.remove(&key)),
            }
            drop(subscription);
        });
    }
}
