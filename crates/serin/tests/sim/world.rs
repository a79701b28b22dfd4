//! One world: the API in memory with its controllers, virtual pods, external services, and the replicas of the unchanged operator.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serin::clock::Clock;
use serin::http_client::HttpClient;
use serin::lab::local::manifest;
use serin::operator::{Operator, Options};
use serin_apiserver::controllers::Controllers;
use serin_apiserver::http::Api;
use serin_apiserver::kubelet::{Behaviour, PodFault, VirtualRuntime};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{DeleteOptions, Store, Sub, WriteOptions};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::external::{ExternalServices, View};
use crate::faults::{By, Crash, Lifeline, Line, Weather};
use crate::manifests::{self, NAMESPACE, name};
use crate::other_owners;
use crate::plan::{Act, Foe, Plan, Quality, Shape};
use crate::routes;

pub(crate) use crate::manifests::strategies;

/// Where the virtual time begins.
const BEGIN: i64 = 1_800_000_000;

pub(crate) const CANARIES: (&str, &str) = ("flagger.app", "canaries");
pub(crate) const DAEMON_SETS: (&str, &str) = ("apps", "daemonsets");
pub(crate) const DEPLOYMENTS: (&str, &str) = ("apps", "deployments");
pub(crate) const SERVICES: (&str, &str) = ("", "services");
pub(crate) const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");
pub(crate) const AUTOSCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");
pub(crate) const EVENTS: (&str, &str) = ("", "events");

/// Virtual time: tokio's; a replica's may be off.
pub(crate) struct VirtualClock {
    started: Instant,
    off: Mutex<i64>,
}

impl VirtualClock {
    fn start() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), off: Mutex::default() })
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let gone = SignedDuration::try_from(self.started.elapsed()).unwrap();
        let off = SignedDuration::from_secs(*self.off.lock().unwrap());
        Timestamp::from_second(BEGIN).unwrap() + gone + off
    }
}

struct Replica {
    operator: Option<Operator>,
    life: Lifeline,
    clock: Arc<VirtualClock>,
    lives: u32,
}

/// The world of one plan.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) external: Arc<ExternalServices>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) shapes: Vec<Shape>,
    /// Version of the store before anything of the canaries was made.
    pub(crate) first: u64,
    replicas: Vec<Replica>,
    turn: u64,
}

/// The cluster in which every life begins: reading the definitions of all kinds takes longer than many a life.
fn empty_cluster() -> &'static Store {
    static EMPTY: OnceLock<Store> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let store = Store::new(Arc::new(|| Timestamp::from_second(BEGIN).unwrap()), 0);
        let crds = serin_core::crd::crds().into_iter().chain(serin_apiserver::crds::traefik_crds());
        let crds = crds.chain(serin_apiserver::crds::gateway_api_crds());
        for object in crds.chain(manifests::shared()) {
            manifest::apply(&store, &object).unwrap();
        }
        store
    })
}

fn resource(id: (&str, &str)) -> ResourceId {
    ResourceId::new(id.0, id.1)
}

impl World {
    pub(crate) fn new(plan: &Plan) -> (Self, mpsc::UnboundedReceiver<Crash>) {
        let clock = VirtualClock::start();
        let ticking = Arc::clone(&clock);
        let now: serin_apiserver::store::Clock = Arc::new(move || ticking.now());
        let store = empty_cluster().fork(Arc::clone(&now), plan.seed);
        let first = store.version();
        let runtime = VirtualRuntime::new(|image, _| behaviour(image));
        let controllers = Controllers::new(Arc::new(store.clone()), Arc::new(runtime), now);
        tokio::spawn(controllers.run(std::future::pending()));
        let (weather, crashes) = Weather::new(plan.seed);
        let external = ExternalServices::new(store.clone(), plan.canaries.len());
        let replicas = (0..plan.replicas)
            .map(|_| Replica {
                operator: None,
                life: Lifeline::new(),
                clock: VirtualClock::start(),
                lives: 0,
            })
            .collect();
        let shapes = plan.canaries.clone();
        let mut world = Self { store, external, weather, shapes, first, replicas, turn: 0 };
        for (canary, shape) in plan.canaries.iter().enumerate() {
            let image = world.image(Quality::Healthy);
            world.as_user(By::User, |world| {
                for object in manifests::objects(canary, shape, &image) {
                    world.apply(&object);
                }
            });
        }
        for replica in 0..world.replicas.len() {
            world.start(replica);
        }
        (world, crashes)
    }

    /// Starts a replica, unless it runs.
    pub(crate) fn start(&mut self, replica: usize) {
        let elected = self.replicas.len() > 1;
        let guarded = self.shapes.iter().any(|shape| shape.guard);
        let number = replica;
        let Some(replica) = self.replicas.get_mut(replica) else { return };
        if replica.operator.is_some() {
            return;
        }
        replica.lives += 1;
        replica.life = Lifeline::new();
        let line = Line {
            api: Api::new(self.store.clone()),
            weather: Arc::clone(&self.weather),
            replica: number,
            life: replica.life.clone(),
        };
        let view = View { external: Arc::clone(&self.external), life: replica.life.clone() };
        let instance = format!("serin-{number}-{}", replica.lives);
        let options =
            options(Arc::clone(&replica.clock), Arc::new(view), instance, elected, guarded);
        replica.operator = Some(Operator::start(kube::Client::new(line, "default"), options));
    }

    /// As a crash would: nothing is finished, nothing is given back, nothing is heard any more.
    pub(crate) fn kill(&mut self, replica: usize) {
        let Some(replica) = self.replicas.get_mut(replica) else { return };
        replica.life.cut();
        if let Some(operator) = replica.operator.take() {
            operator.kill();
        }
    }

    pub(crate) fn start_all(&mut self) {
        for replica in 0..self.replicas.len() {
            self.start(replica);
        }
    }

    pub(crate) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    pub(crate) fn all_up(&self) -> bool {
        self.replicas.iter().all(|replica| replica.operator.is_some())
    }

    pub(crate) fn jump(&self, replica: usize, secs: i64) {
        if let Some(replica) = self.replicas.get(replica) {
            *replica.clock.off.lock().unwrap() += secs;
        }
    }

    /// What the caches of all replicas hold.
    pub(crate) fn held(&self) -> usize {
        let held = |replica: &Replica| {
            replica.operator.as_ref().map_or(0, |operator| operator.context().cache.len())
        };
        self.replicas.iter().map(held).max().unwrap_or_default()
    }

    /// The phase of a canary; empty when it is gone.
    pub(crate) fn phase(&self, canary: usize) -> String {
        let object = self.get(CANARIES, &name(canary));
        let phase = object.as_ref().and_then(|object| object.pointer("/status/phase")?.as_str());
        phase.unwrap_or_default().to_owned()
    }

    /// Changes that are not the operator's.
    fn as_user(&mut self, by: By, work: impl FnOnce(&mut Self)) {
        let before = self.store.version();
        work(self);
        self.weather.made(before, self.store.version(), by);
    }

    fn apply(&self, object: &Value) {
        manifest::apply(&self.store, object).unwrap();
    }

    /// What is not there cannot be changed, which is no news here.
    fn modify(&self, id: (&str, &str), name: &str, change: impl FnOnce(&mut Value)) {
        let options = WriteOptions::by("user");
        drop(self.store.modify(&resource(id), NAMESPACE, name, Sub::Main, &options, change));
    }

    fn delete(&self, id: (&str, &str), name: &str) {
        drop(self.store.delete(&resource(id), NAMESPACE, name, &DeleteOptions::default()));
    }

    pub(crate) fn get(&self, id: (&str, &str), name: &str) -> Option<Arc<Value>> {
        self.store.get(&resource(id), NAMESPACE, name)
    }

    fn image(&mut self, quality: Quality) -> String {
        self.turn += 1;
        format!("app:{}-{}", self.turn, quality.name())
    }

    /// The kind of a canary's target, and of its primary.
    fn workloads(&self, canary: usize) -> (&'static str, &'static str) {
        manifests::workloads(self.shapes[canary].target)
    }

    fn set_image(&self, canary: usize, image: &str) {
        self.modify(self.workloads(canary), &name(canary), |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        });
    }

    pub(crate) fn act(&mut self, canary: usize, act: &Act) {
        self.as_user(By::User, |world| world.do_act(canary, act));
    }

    fn do_act(&mut self, canary: usize, act: &Act) {
        let name = name(canary);
        let Some(shape) = self.shapes.get(canary).cloned() else { return };
        match act {
            Act::Release(quality) => {
                let image = self.image(*quality);
                if *quality == Quality::Shared {
                    let until = Instant::now() + Duration::from_secs(45);
                    self.external.change(canary, |receiver| receiver.incident_until = Some(until));
                }
                self.set_image(canary, &image);
            }
            Act::Revert => {
                if let Some(primary) = self.get(self.workloads(canary), &format!("{name}-primary"))
                {
                    self.set_image(canary, image_of(&primary));
                }
            }
            Act::Edit(edit) => {
                self.modify(CANARIES, &name, |object| manifests::edit(object, *edit));
            }
            Act::RotateConfig | Act::RotateSecret => {
                if shape.configs {
                    self.turn += 1;
                    let kind =
                        if matches!(act, Act::RotateConfig) { "ConfigMap" } else { "Secret" };
                    self.apply(&manifests::config(canary, &shape, kind, self.turn));
                }
            }
            Act::Suspend(suspend) => {
                self.modify(CANARIES, &name, |object| object["spec"]["suspend"] = json!(suspend));
            }
            Act::Delete => self.leave(canary),
            Act::Recreate => {
                if self.get(CANARIES, &name).is_none() {
                    self.apply(&manifests::canary(canary, &shape));
                }
            }
            Act::Gates(open) => {
                self.external.change(canary, |receiver| receiver.gates_shut = !open)
            }
            Act::AskRollback(asks) => {
                self.external.change(canary, |receiver| receiver.asks_rollback = *asks);
            }
            Act::Scale(replicas) => {
                self.modify(self.workloads(canary), &name, |object| {
                    manifests::set_wanted(object, *replicas);
                });
            }
            Act::Autoscaler { min, max } => {
                if shape.autoscaler {
                    self.apply(&manifests::autoscaler(canary, *min, *max));
                }
            }
            Act::Twin => {
                if let Some(of) = self.get(CANARIES, &name) {
                    let mut fresh = manifests::canary(canary, &shape);
                    fresh["spec"] = of["spec"].clone();
                    self.apply(&other_owners::twin(canary, &fresh));
                }
            }
            Act::Stray(true) => self.apply(&other_owners::stray(canary, &shape.extra.beside)),
            Act::Stray(false) => self.delete(DEPLOYMENTS, &format!("stray{canary}")),
            Act::MakeRoom => self.make_room(canary, &shape),
            Act::WasFlagger => self.was_flaggers(&name),
        }
    }

    /// The status becomes one that Flagger left behind.
    fn was_flaggers(&self, name: &str) {
        let (by, id) = (WriteOptions::by("flagger"), resource(CANARIES));
        let made = self.store.modify(&id, NAMESPACE, name, Sub::Status, &by, |object| {
            manifests::as_flagger_left_it(&mut object["status"]);
        });
        drop(made);
    }

    /// With its twin: one that stayed behind would be the oldest of those that want its objects.
    fn leave(&self, canary: usize) {
        self.delete(CANARIES, &other_owners::twin_name(canary));
        self.delete(CANARIES, &name(canary));
    }

    fn make_room(&self, canary: usize, shape: &Shape) {
        for (id, object) in other_owners::objects(canary, &shape.extra.beside) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let theirs =
                |live: &Arc<Value>| live["metadata"]["labels"] == object["metadata"]["labels"];
            if self.get(id, &name).as_ref().is_some_and(theirs) {
                self.delete(id, &name);
            }
        }
    }

    pub(crate) fn hurt(&mut self, canary: usize, foe: &Foe) {
        self.as_user(By::Foe, |world| world.do_hurt(canary, foe));
    }

    fn do_hurt(&mut self, canary: usize, foe: &Foe) {
        let name = name(canary);
        match foe {
            Foe::DeletePrimary => {
                self.delete(self.workloads(canary), &format!("{name}-primary"));
            }
            Foe::DeleteServices => {
                for side in ["primary", "canary"] {
                    self.delete(SERVICES, &format!("{name}-{side}"));
                }
            }
            Foe::DeleteRoute => {
                let kind = routes::of(&self.shapes[canary]);
                self.delete(kind, &name);
            }
            Foe::Fight { share, .. } => {
                let share = *share;
                let kind = routes::of(&self.shapes[canary]);
                self.modify(kind, &name, |route| routes::set_share(route, &name, share));
            }
            Foe::EditPrimary => {
                self.modify(self.workloads(canary), &format!("{name}-primary"), |object| {
                    object["spec"]["template"]["spec"]["containers"][0]["env"] =
                        json!([{"name": "TOUCHED", "value": "yes"}]);
                });
            }
        }
    }

    /// The users set everything right that they put in the way, so that each release can end.
    pub(crate) fn calm(&mut self) {
        self.weather.calm();
        self.external.calm();
        self.as_user(By::User, |world| {
            for canary in 0..world.shapes.len() {
                let shape = world.shapes[canary].clone();
                let name = name(canary);
                world.delete(CANARIES, &other_owners::twin_name(canary));
                world.delete(DEPLOYMENTS, &format!("stray{canary}"));
                world.make_room(canary, &shape);
                if world.get(CANARIES, &name).is_none() {
                    continue;
                }
                let fresh = manifests::canary(canary, &shape);
                world.modify(CANARIES, &name, |object| {
                    if object["spec"] != fresh["spec"] {
                        object["spec"] = fresh["spec"].clone();
                    }
                });
            }
        });
    }
}

fn options(
    clock: Arc<VirtualClock>,
    http_client: Arc<dyn HttpClient>,
    instance: String,
    elected: bool,
    guarded: bool,
) -> Options {
    let gateways =
        if guarded { vec!["http://gateway:9100/metrics".to_owned()] } else { Vec::new() };
    Options {
        settings: serin::operator::settings::Settings {
            namespace: None,
            concurrency: 16,
            core: serin_core::step::Settings {
                drain_secs: 2,
                ..serin_core::step::Settings::default()
            },
            parse: serin_core::parse::Limits {
                min_interval_secs: 1,
                ..serin_core::parse::Limits::default()
            },
            providers: serin_providers::Settings::default(),
            event_webhook: None,
            gateways,
            identity_token: None,
            instance,
        },
        clock,
        http_client,
        election: elected.then(|| NAMESPACE.to_owned()),
        listener: None,
        mesh_provider: "traefik".to_owned(),
    }
}

fn behaviour(image: &str) -> Behaviour {
    let trouble = match Quality::of(image) {
        Quality::Crash => Some(PodFault::CrashLoop),
        Quality::Never => Some(PodFault::NeverReady),
        Quality::Healthy
        | Quality::Bad
        | Quality::Late
        | Quality::Slow
        | Quality::Shared
        | Quality::Mute
        | Quality::Sours => None,
    };
    Behaviour { ready_after: Duration::from_secs(2), trouble, ..Behaviour::default() }
}

pub(crate) fn image_of(workload: &Value) -> &str {
    let image = workload.pointer("/spec/template/spec/containers/0/image");
    image.and_then(Value::as_str).unwrap_or_default()
}
