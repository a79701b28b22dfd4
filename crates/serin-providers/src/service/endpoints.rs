//! Who stands behind a Service: its EndpointSlices, and the pods that they name.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::{items, text};

/// A pod that takes new connections on the port that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Empty where the slice does not say, as in slices that are kept by hand.
    pub(crate) pod: String,
    pub(crate) uid: String,
    /// Number of the port in the pod; none where the slice does not say.
    pub(crate) port: Option<u16>,
}

/// By address, each once. `port` is the name of the Service's port; a pod whose containers have no port of the name that
/// the Service leads to stands in a slice without it. None: any port will do.
pub(crate) fn ready<'a>(
    slices: impl Iterator<Item = &'a Value>,
    port: Option<&str>,
) -> BTreeMap<String, Endpoint> {
    let is = |endpoint: &Value, condition: &str, unset: bool| {
        endpoint.pointer(condition).and_then(Value::as_bool).unwrap_or(unset)
    };
    let mut found = BTreeMap::new();
    for slice in slices {
        let Some(number) = number(slice, port) else { continue };
        for endpoint in items(slice, "/endpoints") {
            // A Service that publishes addresses that are not ready calls them ready; `serving` speaks of the pod.
            let takes = is(endpoint, "/conditions/ready", true)
                && is(endpoint, "/conditions/serving", true)
                && !is(endpoint, "/conditions/terminating", false);
            let address = items(endpoint, "/addresses").first().and_then(Value::as_str);
            if let (true, Some(address)) = (takes, address) {
                let of = |pointer| text(endpoint, pointer).unwrap_or_default().to_owned();
                let (pod, uid) = (of("/targetRef/name"), of("/targetRef/uid"));
                found.insert(address.to_owned(), Endpoint { pod, uid, port: number });
            }
        }
    }
    found
}

/// The pods' port; none when the slice has no such port, which `ports: null` says too.
fn number(slice: &Value, port: Option<&str>) -> Option<Option<u16>> {
    let Some(port) = port else { return Some(None) };
    let named = |entry: &&Value| text(entry, "/name").unwrap_or("") == port;
    let entry = items(slice, "/ports").iter().find(named)?;
    Some(entry.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()))
}
