//! Real processes: this test binary, started again as a small server.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::StreamExt;
use serde_json::{Value, json};

use super::*;
use crate::controllers::{Cluster, Controllers, Kind};
use crate::registry::ResourceId;
use crate::store::Clock;
use crate::store::{Store, WriteOptions};

const ROLE: &str = "SERIN_TEST_ROLE";

fn this() -> String {
    std::env::current_exe().unwrap().to_string_lossy().into_owned()
}

fn as_test(name: &str) -> Vec<String> {
    ["--exact", "--nocapture", "--test-threads=1", &format!("kubelet::process::tests::{name}")]
        .map(str::to_owned)
        .to_vec()
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

fn serve() {
    let address = format!("{}:{}", std::env::var("HOST").unwrap(), std::env::var("PORT").unwrap());
    let listener = TcpListener::bind(&address).unwrap();
    say("serving");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut request = [0; 1024];
            if stream.read(&mut request).unwrap_or(0) > 0 {
                let message = std::env::var("MESSAGE").unwrap_or_default();
                // A probe may have hung up already.
                let _sent = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{message}",
                    message.len()
                );
            }
        });
    }
}

/// With `ROLE` set, the program that the tests below run; else no test.
#[test]
fn helper() {
    match std::env::var(ROLE).as_deref() {
        Ok("serve") => serve(),
        Ok("crash") => {
            say("crashing");
            std::process::exit(3)
        }
        Ok("middle") => middle(),
        Ok(_) | Err(_) => {}
    }
}

/// Starts the server through the launcher, as the real one would, and waits to be killed.
fn middle() {
    let mut child = Command::new(this())
        .args(as_test("a_launcher"))
        .arg("--")
        .arg(this())
        .args(as_test("helper"))
        .env(ROLE, "serve")
        .env("LAUNCH", "yes")
        .env(crate::kubelet::launcher::PARENT, std::process::id().to_string())
        .spawn()
        .unwrap();
    child.wait().unwrap();
}

/// With `LAUNCH` set, the launcher; else no test. Its name sorts before `helper`, which its filter matches too.
#[test]
fn a_launcher() {
    if std::env::var("LAUNCH").is_err() {
        return;
    }
    let args = std::env::args_os().skip_while(|arg| arg != "--").skip(1);
    panic!("{}", crate::kubelet::launcher::exec(args.chain([OsString::from("--quiet")])));
}

struct TestCluster {
    store: Arc<Store>,
    runtime: ProcessRuntime,
    dir: PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    controllers: tokio::task::JoinHandle<()>,
}

impl TestCluster {
    fn start(test: &str, second: u8) -> Self {
        let clock: Clock = Arc::new(jiff::Timestamp::now);
        let store = Arc::new(Store::new(Arc::clone(&clock), 1));
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}});
        store
            .create(&ResourceId::core("namespaces"), "", namespace, &WriteOptions::by("test"))
            .unwrap();
        let command = [vec![this()], as_test("helper")].concat();
        let images = Images::new([("demo:*".to_owned(), command)]);
        let dir = std::env::temp_dir().join(format!("serin-test-{test}-{}", std::process::id()));
        let config = ProcessConfig {
            drain: Duration::ZERO,
            second,
            ..ProcessConfig::new(images, dir.clone())
        };
        let runtime = ProcessRuntime::new(config).unwrap();
        let controllers =
            Controllers::new(Arc::<Store>::clone(&store), Arc::new(runtime.clone()), clock);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let controllers = tokio::spawn(controllers.run(async {
            let _asked = stopped.await;
        }));
        Self { store, runtime, dir, stop, controllers }
    }

    fn deploy(&self, image: &str, role: &str, probe: Value) {
        let container = json!({
            "name": "main", "image": image, "ports": [{"containerPort": 18080}], "readinessProbe": probe,
            "env": [{"name": ROLE, "value": role}, {"name": "MESSAGE", "value": "I am $(POD_NAME) $(IMAGE_TAG)"}],
        });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "test"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}},
        });
        Cluster::create(&*self.store, Kind::Deployment, deployment).unwrap();
    }

    fn pods(&self) -> Vec<Arc<Value>> {
        Cluster::list(&*self.store, Kind::Pod)
    }

    async fn until(&self, done: impl Fn(&[Arc<Value>]) -> bool) -> Vec<Arc<Value>> {
        let mut changed = self.store.changed();
        let all = async {
            while !done(&self.pods()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), all).await.is_err() {
            panic!("not reached in time: {:#?}", self.pods());
        }
        self.pods()
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.controllers.await.unwrap();
        std::fs::remove_dir_all(self.dir).unwrap();
    }
}

fn get(ip: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((ip, 18080))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ready(pods: &[Arc<Value>]) -> usize {
    pods.iter().filter(|pod| object::is_ready(pod)).count()
}

#[tokio::test]
async fn pods_serve_at_their_own_addresses_until_told_to_end() {
    for (probe, second) in
        [(json!({"httpGet": {"path": "/", "port": 18080}}), 211), (Value::Null, 212)]
    {
        let cluster = TestCluster::start("serve", second);
        cluster.deploy("demo:2.1", "serve", probe);
        let pods = cluster.until(|pods| ready(pods) == 2).await;
        let ips: Vec<String> =
            pods.iter().map(|pod| text(pod, "/status/podIP").to_owned()).collect();
        assert_ne!(ips[0], ips[1]);
        for (pod, ip) in pods.iter().zip(&ips) {
            assert!(get(ip).unwrap().ends_with(&format!("I am {} 2.1", object::name(pod))));
        }
        let log = cluster
            .runtime
            .read("test", object::name(&pods[0]), "", &LogOptions::default())
            .unwrap();
        let log: Vec<bytes::Bytes> = log.collect().await;
        assert!(log.iter().any(|line| line.ends_with(b"serving\n")), "{log:?}");
        let scale = |web: &mut Value| web["spec"]["replicas"] = json!(0);
        cluster
            .store
            .modify(
                &ResourceId::new("apps", "deployments"),
                "test",
                "web",
                crate::store::Sub::Main,
                &WriteOptions::by("test"),
                scale,
            )
            .unwrap();
        cluster.until(<[_]>::is_empty).await;
        assert!(ips.iter().all(|ip| get(ip).is_err()));
        cluster.end().await;
    }
}

#[tokio::test]
async fn nothing_is_left_when_the_server_ends() {
    let cluster = TestCluster::start("shutdown", 213);
    cluster.deploy("demo:1", "serve", Value::Null);
    let pods = cluster.until(|pods| ready(pods) == 2).await;
    cluster.end().await;
    assert!(pods.iter().all(|pod| get(text(pod, "/status/podIP")).is_err()));
}

#[tokio::test]
async fn crashes_are_counted_and_waited_for() {
    let cluster = TestCluster::start("crash", 214);
    cluster.deploy("demo:1", "crash", Value::Null);
    let pods = cluster
        .until(|pods| {
            pods.iter().any(|pod| {
                let status = &pod["status"]["containerStatuses"][0];
                status["restartCount"] == 1
                    && status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
        })
        .await;
    assert!(pods.iter().any(
        |pod| pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    ));
    cluster.end().await;
}

#[tokio::test]
async fn a_pod_that_is_not_alive_is_restarted() {
    let cluster = TestCluster::start("live", 217);
    let probe = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    let container = json!({
        "name": "main", "image": "demo:1", "livenessProbe": probe, "ports": [{"containerPort": 18080}],
        "env": [{"name": ROLE, "value": "serve"}],
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": "test"},
        "spec": {"containers": [container]},
    });
    Cluster::create(&*cluster.store, Kind::Pod, pod).unwrap();
    cluster
        .until(|pods| {
            pods.iter().any(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        })
        .await;
    let events = Cluster::list(&*cluster.store, Kind::Event);
    assert!(events.iter().any(|event| event["reason"] == "Killing"));
    assert!(events.iter().any(|event| event["reason"] == "Unhealthy"));
    cluster.end().await;
}

#[tokio::test]
async fn volumes_are_files_that_the_command_finds() {
    let cluster = TestCluster::start("volume", 218);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "test"},
        "data": {"color": "blue\n"},
    });
    Cluster::create(&*cluster.store, Kind::ConfigMap, map).unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": "test"},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
            "containers": [{
                "name": "main", "image": "any", "command": ["cat", "/etc/app/color"],
                "volumeMounts": [{"name": "settings", "mountPath": "/etc/app"}],
            }],
        },
    });
    Cluster::create(&*cluster.store, Kind::Pod, pod).unwrap();
    cluster.until(|pods| pods.iter().any(|pod| pod["status"]["phase"] == "Succeeded")).await;
    let log = cluster.runtime.read("test", "alone", "main", &LogOptions::default()).unwrap();
    let log: Vec<bytes::Bytes> = log.collect().await;
    assert_eq!(log, ["blue\n"]);
    cluster.end().await;
}

#[tokio::test]
async fn unknown_images_are_not_run() {
    let cluster = TestCluster::start("pull", 215);
    cluster.deploy("unknown:1", "serve", Value::Null);
    cluster
        .until(|pods| {
            pods.iter().any(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                    == "ErrImagePull"
            })
        })
        .await;
    cluster
        .until(|pods| {
            pods.iter().any(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                    == "ImagePullBackOff"
            })
        })
        .await;
    cluster.end().await;
}

#[cfg(target_os = "linux")]
#[test]
fn a_pod_dies_with_a_server_that_is_killed() {
    let mut middle = Command::new(this())
        .args(as_test("helper"))
        .env(ROLE, "middle")
        .env("HOST", "127.216.1.1")
        .env("PORT", "18080")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(middle.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("serving")));
    let mut connection = TcpStream::connect("127.216.1.1:18080").unwrap();
    middle.kill().unwrap();
    middle.wait().unwrap();
    // The pod's end closes the connection; until then this waits.
    assert_eq!(connection.read(&mut [0; 1]).unwrap_or(0), 0);
}
