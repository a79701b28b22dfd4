//! A minimal OpenAPI v2 document: kubectl reads from it that the server validates fields, for `kind: List` only.

use super::Api;

pub(super) const CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

// The field numbers of gnostic's protobuf messages.
const PATHS: u8 = 8;
const PATH: u8 = 2;
const NAME: u8 = 1;
const VALUE: u8 = 2;
const PATCH: u8 = 8;
const PARAMETERS: u8 = 8;
const EXTENSIONS: u8 = 13;
const YAML: u8 = 2;
const PARAMETER: u8 = 1;
const NON_BODY: u8 = 2;
const QUERY: u8 = 3;
const QUERY_NAME: u8 = 4;

impl Api {
    pub(super) fn open_api_v2(&self) -> Vec<u8> {
        let mut paths = Vec::new();
        for resource in self.store().resources() {
            for version in &resource.versions {
                let name =
                    format!("/{}/{}", resource.api_version(&version.name), resource.id.plural);
                let gvk = format!(
                    "group: \"{}\"\nkind: {}\nversion: {}\n",
                    resource.id.group, resource.kind, version.name
                );
                let query = field(QUERY, &field(QUERY_NAME, b"fieldValidation"));
                let parameter = field(PARAMETERS, &field(PARAMETER, &field(NON_BODY, &query)));
                let any = field(VALUE, &field(YAML, gvk.as_bytes()));
                let named = [field(NAME, b"x-kubernetes-group-version-kind"), any].concat();
                let patch = [parameter, field(EXTENSIONS, &named)].concat();
                let item = field(VALUE, &field(PATCH, &patch));
                paths.extend(field(PATH, &[field(NAME, name.as_bytes()), item].concat()));
            }
        }
        field(PATHS, &paths)
    }
}

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(content);
    out
}
