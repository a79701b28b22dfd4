//! Where a query goes and what opens the door, read as the catalogue says: no provider reads a Secret by itself.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Request};
use serde_json::Value;
use serin_core::model::metric_kind::{Home, Keys, Need};
use serin_core::model::{MetricBackend, MetricKind};

use super::MetricError;
use crate::call::{Call, percent_encoded, secret_text, secret_value, uri};
use crate::settings::{Aws, Settings};

/// Headers that say where a request goes and where it ends: whoever sets them can send another one along.
const OURS: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE];

/// Where a query goes and what opens the door. Its secrets are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    pub address: String,
    /// It is the makers' own.
    pub(super) is_public: bool,
    pub(super) region: Option<String>,
    headers: BTreeMap<String, Vec<String>>,
    keys: BTreeMap<&'static str, String>,
    insecure: bool,
    ca: Option<Bytes>,
    /// Who the controller is, for backends that ask.
    pub(super) aws: Aws,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// A server that lets everyone in.
    pub fn open(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            is_public: false,
            region: None,
            headers: BTreeMap::new(),
            keys: BTreeMap::new(),
            insecure: false,
            ca: None,
            aws: Aws::NoCredentials,
        }
    }

    /// `secret` is the Secret that the backend names, as the API has it; `server` the one for the canary's builtin queries.
    pub fn of(
        backend: &MetricBackend,
        secret: Option<&Value>,
        server: &str,
        settings: &Settings,
    ) -> Result<Self, MetricError> {
        let own = backend.address.as_deref();
        let address = match (own, backend.kind.home) {
            // Nothing but the API server is asked, whatever else the template names.
            (_, Home::InCluster) => return Ok(Self::open("")),
            (Some(own), _) => own.to_owned(),
            (None, Home::Public(public)) => {
                public.replace("REGION", backend.region.as_deref().unwrap_or_default())
            }
            // Whoever may write a Canary could otherwise have them sent to a server of their own.
            (None, Home::OfCanary) if backend.secret.is_some() || !backend.headers.is_empty() => {
                let why = "a provider with a secretRef or headers must have one of its own";
                return Err(MetricError::Address(why.to_owned()));
            }
            (None, Home::OfCanary) => server.to_owned(),
            (None, Home::Named) => {
                return Err(MetricError::Address("the provider must have one".to_owned()));
            }
        };
        let mut access = Self::open(address);
        access.region.clone_from(&backend.region);
        access.headers.clone_from(&backend.headers);
        // Who serves everybody has a certificate that everybody knows.
        access.is_public = own.is_none() && matches!(backend.kind.home, Home::Public(_));
        access.insecure = backend.insecure_skip_verify && !access.is_public;
        match (&backend.secret, secret) {
            (None, _) => access.without_secret(backend.kind, own.is_some(), settings)?,
            (Some(name), None) => {
                return Err(MetricError::Secret(format!("{name} does not exist")));
            }
            (Some(_), Some(secret)) => {
                access.unlock(&backend.kind.keys, secret).map_err(MetricError::Secret)?;
            }
        }
        Ok(access)
    }

    fn without_secret(
        &mut self,
        kind: &MetricKind,
        elsewhere: bool,
        settings: &Settings,
    ) -> Result<(), MetricError> {
        let complaint = |why: String| Err(MetricError::Secret(why));
        match kind.keys.secret {
            Need::Optional => Ok(()),
            Need::Required => complaint(format!("it needs one with {}", kind.keys.words())),
            // Whoever may write a template could otherwise have it shown to a server of their own.
            Need::Ambient if elsewhere => complaint(format!(
                "a provider with an address must name one with {}: the controller's own identity is not shown there",
                kind.keys.words()
            )),
            Need::Ambient => {
                self.aws.clone_from(&settings.aws);
                match self.aws {
                    Aws::NoCredentials => complaint(format!(
                        "the controller has no identity of its own, so it needs one with {}",
                        kind.keys.words()
                    )),
                    Aws::Keys(_)
                    | Aws::WebIdentity { .. }
                    | Aws::Container { .. }
                    | Aws::Elsewhere => Ok(()),
                }
            }
        }
    }

    /// One of the sets of keys; `ca.crt` may stand beside them, or alone where none is needed.
    fn unlock(&mut self, keys: &Keys, secret: &Value) -> Result<(), String> {
        self.ca = secret_value(secret, "ca.crt")?.map(Bytes::from);
        let mut found = BTreeMap::new();
        for key in keys.one_of.iter().copied().flatten().chain(keys.beside) {
            found.extend(secret_text(secret, key)?.map(|text| (*key, text)));
        }
        let is_whole = |set: &&&[&'static str]| set.iter().all(|key| found.contains_key(key));
        let Some(set) = keys.one_of.iter().find(is_whole) else {
            let alone = self.ca.is_some() && keys.secret == Need::Optional && found.is_empty();
            return if alone { Ok(()) } else { Err(format!("it needs {}", keys.words())) };
        };
        found.retain(|key, _| set.contains(key) || keys.beside.contains(key));
        self.keys = found;
        Ok(())
    }

    /// What the Secret has under a key of the catalogue.
    pub(super) fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// A request below the address, with the headers of the template.
    pub(super) fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Request<Bytes>, MetricError> {
        let base = self.address.trim().trim_end_matches('/');
        let pairs: Vec<String> =
            query.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value))).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        let url = format!("{base}{path}{mark}{}", pairs.join("&"));
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri(&url).map_err(MetricError::Address)?;
        *request.headers_mut() = self.headers()?;
        Ok(request)
    }

    fn headers(&self) -> Result<HeaderMap, MetricError> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            let complaint = || MetricError::Header(name.clone());
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| complaint())?;
            if OURS.contains(&header) {
                return Err(complaint());
            }
            for value in values {
                let value = HeaderValue::from_str(value).map_err(|_| complaint())?;
                headers.append(header.clone(), value);
            }
        }
        Ok(headers)
    }

    /// The request with everything that sending it needs.
    pub(super) fn call(&self, request: Request<Bytes>, timeout_secs: u32) -> Call {
        Call {
            request,
            timeout_secs,
            insecure: self.insecure,
            ca: self.ca.clone(),
            proxy: None,
            trusted: false,
        }
    }
}

/// The value of a header that nobody may see.
pub(super) fn hidden(text: &str) -> Result<HeaderValue, MetricError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| MetricError::Secret("it has characters that no header may have".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
