//! Compares the API server with recorded answers of kube-apiserver to the same requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

mod normal;
mod play;

use play::{Answers, Server};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/difference")
}

/// The differences of two values, as `pointer: ours != theirs`.
fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (ours, theirs) = (a.get(name), b.get(name));
                match (ours, theirs) {
                    (Some(ours), Some(theirs)) => {
                        differences(&format!("{at}/{name}"), ours, theirs, found);
                    }
                    (ours, theirs) => {
                        let show =
                            |v: Option<&Value>| v.map_or("nothing".to_owned(), Value::to_string);
                        found.push(format!("{at}/{name}: {} != {}", show(ours), show(theirs)));
                    }
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (ours, theirs)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}/{index}"), ours, theirs, found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => found.push(format!("{at}: {ours} != {theirs}")),
    }
}

/// The recorded answers, normalised again: the rules may be newer than the recording.
fn golden(file: &str) -> Answers {
    let path = folder().join(format!("golden/{file}.json"));
    let mut answers: Answers =
        serde_json::from_slice(&std::fs::read(path).expect("the recording is there"))
            .expect("and it is JSON");
    for answer in answers.values_mut() {
        answer["body"] = normal::body(answer["body"].take());
    }
    answers
}

/// The known differences: reason, file, names of the requests.
fn known() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let path = folder().join("known.yaml");
    let text = std::fs::read_to_string(path).expect("known.yaml can be read");
    serde_saphyr::from_str(&text).expect("known.yaml is YAML")
}

/// The user documentation lists the same differences.
#[test]
fn the_documentation_tells_every_known_difference() {
    let page = folder().join("../../../../docs/reference/local-cluster.md");
    let page = std::fs::read_to_string(page).unwrap();
    for why in known().keys() {
        assert!(
            page.to_lowercase().contains(&why.to_lowercase()),
            "docs/reference/local-cluster.md: {why}"
        );
    }
}

/// `known.yaml` lists the answers that differ, with a reason; an answer that no longer differs must be removed.
#[tokio::test(start_paused = true)]
async fn our_server_answers_as_the_real_one() {
    let known = known();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for file in play::files(&folder().join("cases")) {
        let golden = golden(&file);
        let ours = play::play(&Server::ours(), &folder().join("cases"), &file).await;
        asked += ours.len();
        let known: Vec<&String> = known.values().filter_map(|by| by.get(&file)).flatten().collect();
        for name in known.iter().filter(|name| !golden.contains_key(**name)) {
            wrong.push(format!("{file}: {name}: known.yaml names it, and it is not asked"));
        }
        assert!(
            ours.keys().eq(golden.keys()),
            "{file}: the recorded answers are of other requests; record them anew"
        );
        for (name, theirs) in &golden {
            let mut found = Vec::new();
            differences("", &ours[name], theirs, &mut found);
            match (found.is_empty(), known.contains(&name)) {
                (true, false) | (false, true) => {}
                (true, true) => wrong.push(format!("{file}: {name}: no longer differs")),
                (false, false) => {
                    wrong.push(format!("{file}: {name}:\n      {}", found.join("\n      ")));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} answers differ:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
    assert!(asked > 300, "only {asked} requests");
}

/// With `SERIN_REAL_API`, the address of a `kubectl proxy` before a fresh kube-apiserver: what it answers today is what was
/// recorded. `SERIN_RECORD=1` records it anew instead. `make conformance` runs it.
#[tokio::test]
async fn the_real_server_answers_as_it_was_recorded() {
    let Ok(address) = std::env::var("SERIN_REAL_API") else { return };
    let record = std::env::var("SERIN_RECORD").is_ok_and(|value| !value.is_empty());
    let mut wrong = Vec::new();
    for file in play::files(&folder().join("cases")) {
        let answers = play::play(&Server::at(&address), &folder().join("cases"), &file).await;
        if record {
            let line = |(name, answer)| format!("{}:{answer}", Value::from(name));
            let lines: Vec<String> = answers.into_iter().map(line).collect();
            let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
            std::fs::write(folder().join(format!("golden/{file}.json")), text).unwrap();
            continue;
        }
        let golden = golden(&file);
        for (name, answer) in &answers {
            let mut found = Vec::new();
            differences("", answer, golden.get(name).unwrap_or(&Value::Null), &mut found);
            if !found.is_empty() {
                wrong.push(format!("{file}: {name}:\n      {}", found.join("\n      ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n  {}", wrong.len(), wrong.join("\n  "));
}
