//! The middlewares that cost nothing to honour: headers, stripPrefix and addPrefix.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::read::{Object, list, text};
use super::{Builder, Built};

#[derive(Clone, Debug, PartialEq)]
pub enum Middleware {
    /// Sets headers; an empty value removes the header.
    Headers {
        request: Vec<(HeaderName, HeaderValue)>,
        response: Vec<(HeaderName, HeaderValue)>,
    },
    StripPrefix(Vec<String>),
    AddPrefix(String),
}

pub(super) fn build(builder: &mut Builder<'_>, object: &Object<'_>) -> Built<Middleware> {
    const KNOWN: [&str; 3] = ["headers", "stripPrefix", "addPrefix"];
    let spec = object.spec();
    builder.only(&object.label, "spec", spec, &KNOWN)?;
    let given: Vec<&str> = KNOWN.into_iter().filter(|name| !spec[*name].is_null()).collect();
    let [kind] = given[..] else {
        return Err(builder.problem(
            &object.label,
            "spec",
            "must have exactly one kind of middleware",
        ));
    };
    let (path, value) = (format!("spec.{kind}"), &spec[kind]);
    match kind {
        "headers" => {
            let known = ["customRequestHeaders", "customResponseHeaders"];
            builder.only(&object.label, &path, value, &known)?;
            let request = headers(builder, object, value, known[0])?;
            let response = headers(builder, object, value, known[1])?;
            Ok(Middleware::Headers { request, response })
        }
        "stripPrefix" => {
            builder.only(&object.label, &path, value, &["prefixes"])?;
            let prefixes = list(value, "prefixes").iter().filter_map(Value::as_str);
            Ok(Middleware::StripPrefix(prefixes.map(str::to_owned).collect()))
        }
        _ => {
            builder.only(&object.label, &path, value, &["prefix"])?;
            match text(value, "prefix") {
                Some(prefix) => {
                    Ok(Middleware::AddPrefix(format!("/{}", prefix.trim_start_matches('/'))))
                }
                None => Err(builder.problem(
                    &object.label,
                    "spec.addPrefix.prefix",
                    "must not be empty",
                )),
            }
        }
    }
}

fn headers(
    builder: &mut Builder<'_>,
    object: &Object<'_>,
    value: &Value,
    field: &str,
) -> Built<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    for (name, value) in value[field].as_object().into_iter().flatten() {
        let parsed = (name.parse::<HeaderName>(), value.as_str().map(str::parse::<HeaderValue>));
        match parsed {
            (Ok(name), Some(Ok(value))) => headers.push((name, value)),
            (Ok(_) | Err(_), _) => {
                let path = format!("spec.headers.{field}.{name}");
                return Err(builder.problem(&object.label, &path, "is not a valid header"));
            }
        }
    }
    Ok(headers)
}
