//! Volumes as private directories. Processes share the file system of the machine, so paths below a mount point are rewritten in command line and environment.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::Configs;
use super::env::entries;
use crate::controllers::object::{self, flag, list, text};

/// A container's mount points and the directories that they map to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts(Vec<(String, PathBuf)>);

/// Writes the volumes of a pod below `dir`.
pub(crate) fn prepare(pod: &Value, dir: &Path, configs: &dyn Configs) -> Result<(), String> {
    for volume in list(pod, "/spec/volumes") {
        let name = text(volume, "/name");
        let at = dir.join(name);
        let failed = |error: io::Error| format!("volume {name:?}: {error}");
        private_dir(&at).map_err(failed)?;
        for (key, secret, named) in [("configMap", false, "/name"), ("secret", true, "/secretName")]
        {
            if let Some(source) = volume.get(key).filter(|source| source.is_object()) {
                fill(&at, source, text(source, named), secret, object::namespace(pod), configs)?;
            }
        }
    }
    Ok(())
}

fn fill(
    at: &Path,
    source: &Value,
    name: &str,
    secret: bool,
    namespace: &str,
    configs: &dyn Configs,
) -> Result<(), String> {
    let Some(all) = entries(configs, namespace, name, secret) else {
        let kind = if secret { "secret" } else { "configmap" };
        return if flag(source, "/optional") {
            Ok(())
        } else {
            Err(format!("{kind} {name:?} not found"))
        };
    };
    let items = list(source, "/items");
    let wanted: Vec<(&str, &str)> = if items.is_empty() {
        all.keys().map(|key| (key.as_str(), key.as_str())).collect()
    } else {
        items.iter().map(|item| (text(item, "/key"), text(item, "/path"))).collect()
    };
    for (key, path) in wanted {
        let inside = !path.is_empty()
            && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(format!("{path:?} is not a path inside the volume"));
        }
        let Some(bytes) = all.get(key) else { return Err(format!("{name:?} has no key {key:?}")) };
        let file = at.join(path);
        let written = file
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&file, bytes));
        written.map_err(|error| format!("cannot write {path:?}: {error}"))?;
    }
    Ok(())
}

/// A directory that only its owner can read.
pub(crate) fn private_dir(at: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(at)
}

impl Mounts {
    pub(crate) fn of(container: &Value, dir: &Path) -> Self {
        let mut mounts: Vec<(String, PathBuf)> = list(container, "/volumeMounts")
            .iter()
            .map(|mount| {
                (
                    text(mount, "/mountPath").trim_end_matches('/').to_owned(),
                    dir.join(text(mount, "/name")),
                )
            })
            .collect();
        mounts.retain(|(path, _)| !path.is_empty());
        // The longest mount path first, so that it wins over its parents.
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self(mounts)
    }

    /// Replaces every path at or below a mount point.
    pub(crate) fn rewrite(&self, given: &str) -> String {
        let mut done = String::new();
        let mut rest = given;
        'next: while !rest.is_empty() {
            if !done.ends_with(is_path) {
                for (mount, dir) in &self.0 {
                    let after = rest
                        .strip_prefix(mount.as_str())
                        .filter(|after| after.starts_with('/') || !after.starts_with(is_path));
                    if let Some(after) = after {
                        done.push_str(&dir.to_string_lossy());
                        let end = after.find(|letter| !is_path(letter)).unwrap_or(after.len());
                        done.push_str(&after[..end]);
                        rest = &after[end..];
                        continue 'next;
                    }
                }
            }
            let mut letters = rest.chars();
            done.extend(letters.next());
            rest = letters.as_str();
        }
        done
    }
}

fn is_path(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '/' | '.' | '-' | '_')
}

/// The first field of a pod that processes cannot support, if any.
pub(crate) fn unsupported(pod: &Value) -> Option<String> {
    let containers =
        || list(pod, "/spec/initContainers").iter().chain(list(pod, "/spec/containers"));
    let volume =
        |name: &str| list(pod, "/spec/volumes").iter().find(|volume| text(volume, "/name") == name);
    for mount in containers().flat_map(|container| list(container, "/volumeMounts")) {
        let name = text(mount, "/name");
        let Some(volume) = volume(name) else {
            return Some(format!("volume {name:?} is mounted but not declared"));
        };
        let known = ["configMap", "secret", "emptyDir"]
            .iter()
            .any(|kind| volume.get(*kind).is_some_and(Value::is_object));
        if !known {
            return Some(format!(
                "volume {name:?}: only configMap, secret and emptyDir volumes are supported for pods that are processes"
            ));
        }
        if mount.get("subPath").or(mount.get("subPathExpr")).is_some_and(Value::is_string) {
            return Some(format!(
                "volume {name:?}: subPath is not supported for pods that are processes"
            ));
        }
    }
    for container in containers() {
        if container.pointer("/lifecycle/postStart").is_some_and(Value::is_object) {
            return Some(format!(
                "container {:?}: lifecycle.postStart is not supported for pods that are processes",
                text(container, "/name")
            ));
        }
    }
    let sidecar = list(pod, "/spec/initContainers")
        .iter()
        .find(|container| text(container, "/restartPolicy") == "Always")?;
    Some(format!(
        "init container {:?}: restartPolicy Always is not supported for pods that are processes",
        text(sidecar, "/name")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_below_mounts_move() {
        let container = json!({"volumeMounts": [{"name": "c", "mountPath": "/etc/app"}, {"name": "d", "mountPath": "/etc/app/more/"}]});
        let mounts = Mounts::of(&container, Path::new("/p"));
        let table = [
            ("--config=/etc/app/a.yaml", "--config=/p/c/a.yaml"),
            ("/etc/app", "/p/c"),
            ("/etc/app/more/x:/etc/app/y", "/p/d/x:/p/c/y"),
            ("/etc/apple /my/etc/app", "/etc/apple /my/etc/app"),
        ];
        for (given, expected) in table {
            assert_eq!(mounts.rewrite(given), expected);
        }
    }

    #[test]
    fn refusals() {
        let pod = |volume: Value, mount: Value| json!({"spec": {"volumes": [volume], "containers": [{"name": "m", "volumeMounts": [mount]}]}});
        let mount = json!({"name": "v", "mountPath": "/v"});
        assert_eq!(unsupported(&pod(json!({"name": "v", "emptyDir": {}}), mount.clone())), None);
        assert!(unsupported(&pod(json!({"name": "v", "hostPath": {}}), mount.clone())).is_some());
        assert!(unsupported(&pod(json!({"name": "w", "emptyDir": {}}), mount)).is_some());
    }
}
