//! The real Chromium, spoken to in its own protocol through a pipe: no port, no driver, no crate.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::local::PATIENCE;

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last: u64,
    session: String,
    /// What pages complained of: exceptions, refused resources, broken policies.
    pub(crate) complaints: Vec<String>,
}

impl Browser {
    /// `home` gets its profile.
    pub(crate) async fn start(program: &Path, home: &Path) -> Self {
        // The protocol is on the third and the fourth descriptor.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null"])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", home.join("chromium").display()))
            .arg("about:blank")
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser =
            Self { child, to, from: BufReader::new(from), last: 0, session, complaints };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let target = target["targetId"].clone();
        let attached = json!({"targetId": target, "flatten": true});
        let attached = browser.call("Target.attachToTarget", attached).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Asks for something and waits for its answer.
    async fn send(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        let answer = async {
            self.to.write_all(&text).await.unwrap();
            self.to.flush().await.unwrap();
            loop {
                let mut told = Vec::new();
                let size = self.from.read_until(0, &mut told).await.unwrap();
                assert!(size > 0, "the browser has ended");
                told.pop();
                let told: Value = serde_json::from_slice(&told).unwrap();
                if told["id"] == id {
                    return told;
                }
                self.complaints.extend(complaint(&told));
            }
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("no answer to {method}"))
    }

    /// The result of what was asked for.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.send(method, params).await;
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    /// Whether an expression is true; one about what is not on the page yet, or asked between two pages, is not.
    async fn is_so(&mut self, expression: &str) -> bool {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        self.send("Runtime.evaluate", params).await["result"]["result"]["value"] == true
    }

    /// The value of an expression on the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete'").await;
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let found = async {
            let mut looks = tokio::time::interval(Duration::from_millis(100));
            while !self.is_so(expression).await {
                looks.tick().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        if found.is_err() {
            let page = self.value("document.body.innerText").await;
            panic!("never: {expression}\n{}\n{:?}", page.as_str().unwrap_or("?"), self.complaints);
        }
    }

    /// How wide the window is, and whether it is dark.
    pub(crate) async fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    pub(crate) async fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key});
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// The whole page as a picture; kept where `SERIN_SHOTS` says, for people to look at.
    pub(crate) async fn shot(&mut self, name: &str) {
        use base64::Engine as _;
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", params).await;
        let engine = base64::engine::general_purpose::STANDARD;
        let picture = engine.decode(answer["data"].as_str().unwrap()).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5000, "{} bytes", picture.len());
        if let Some(folder) = std::env::var_os("SERIN_SHOTS").map(PathBuf::from) {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }

    /// What axe finds wrong on the page as it is; nothing where it is not there.
    pub(crate) async fn violations(&mut self) -> Option<Vec<String>> {
        let path = crate::local::part("SERIN_AXE")?;
        let source = std::fs::read_to_string(path).unwrap();
        self.value(&format!("{source}; true")).await;
        let found = self.value("axe.run().then(r => r.violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html} ${n.failureSummary}`)))").await;
        let found = found.as_array().unwrap().iter();
        Some(found.map(|one| one.as_str().unwrap().to_owned()).collect())
    }

    pub(crate) async fn stop(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

/// What an event complains of.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            Some(params["entry"].to_string())
        }
        _ => None,
    }
}
