//! The part of the API that a path names.

use crate::registry::ResourceId;

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Version,
    Core,
    Groups,
    Group(String),
    Resources { group: String, version: String },
    OpenApiIndex,
    OpenApiV2,
    OpenApi { group: String, version: String },
    Objects(ObjectPath),
    Unknown,
}

/// Objects of a kind: all, those of a namespace, one of them, or a subresource of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectPath {
    pub(super) id: ResourceId,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) sub: Option<String>,
}

impl Route {
    pub(super) fn parse(path: &str) -> Self {
        let parts: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "readyz" | "livez", ..] => Route::Health,
            ["version"] => Route::Version,
            ["api"] => Route::Core,
            ["apis"] => Route::Groups,
            ["apis", group] => Route::Group((*group).to_owned()),
            ["openapi", "v2"] => Route::OpenApiV2,
            ["openapi", "v3"] => Route::OpenApiIndex,
            ["openapi", "v3", "api", version] => {
                Route::OpenApi { group: String::new(), version: (*version).to_owned() }
            }
            ["openapi", "v3", "apis", group, version] => {
                Route::OpenApi { group: (*group).to_owned(), version: (*version).to_owned() }
            }
            ["api", version] => {
                Route::Resources { group: String::new(), version: (*version).to_owned() }
            }
            ["apis", group, version] => {
                Route::Resources { group: (*group).to_owned(), version: (*version).to_owned() }
            }
            ["api", version, rest @ ..] => objects("", version, rest),
            ["apis", group, version, rest @ ..] => objects(group, version, rest),
            _ => Route::Unknown,
        }
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Route {
    let place = |namespace: Option<&str>, plural: &str, name: Option<&str>, sub: Option<&str>| {
        Route::Objects(ObjectPath {
            id: ResourceId::new(group, plural),
            version: version.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            sub: sub.map(str::to_owned),
        })
    };
    match rest {
        ["namespaces"] if group.is_empty() => place(None, "namespaces", None, None),
        ["namespaces", name] if group.is_empty() => place(None, "namespaces", Some(name), None),
        ["namespaces", name, sub @ ("status" | "finalize")] if group.is_empty() => {
            place(None, "namespaces", Some(name), Some(sub))
        }
        ["namespaces", ns, plural] => place(Some(ns), plural, None, None),
        ["namespaces", ns, plural, name] => place(Some(ns), plural, Some(name), None),
        ["namespaces", ns, plural, name, sub] => place(Some(ns), plural, Some(name), Some(sub)),
        [plural] => place(None, plural, None, None),
        [plural, name] => place(None, plural, Some(name), None),
        [plural, name, sub] => place(None, plural, Some(name), Some(sub)),
        _ => Route::Unknown,
    }
}

/// Decodes percent-encoded path segments (RBAC names have colons).
fn percent_decode(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = part.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
