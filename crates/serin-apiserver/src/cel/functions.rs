//! The names that CEL rules can use, and the functions that Kubernetes adds to CEL.

use std::sync::{Arc, OnceLock};

use cel::common::types::{DYN_TYPE, LIST_TYPE};
use cel::common::value::CowVal;
use cel::extractors::This;
use cel::{Context, Env, ExecutionError, Value as Cel, extensions};
use regex::Regex;

/// Functions that rules can call. A rule that calls another one is reported as unsupported and not checked.
pub(super) const FUNCTIONS: &[&str] = &[
    "size",
    "matches",
    "startsWith",
    "endsWith",
    "contains",
    "duration",
    "timestamp",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "dyn",
    "type",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "join",
    "lowerAscii",
    "upperAscii",
    "trim",
    "replace",
    "split",
    "substring",
    "format",
    "reverse",
    "slice",
    "flatten",
    "distinct",
    "sort",
    "isSorted",
    "sum",
    "min",
    "max",
    "find",
    "findAll",
    "isURL",
    "isIP",
    "hasValue",
    "value",
    "orValue",
    "or",
    "of",
    "ofNonZeroValue",
    "none",
    "optMap",
    "optFlatMap",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
];

/// The variables of a rule; the others are types, and `optional` is the namespace of its functions.
pub(super) const VARIABLES: &[&str] = &[
    "self",
    "oldSelf",
    "optional",
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

/// Libraries of Kubernetes whose functions are not supported.
pub(super) const LIBRARIES: &[&str] =
    &["format", "sets", "math", "lists", "strings", "base64", "semver"];

pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    let make = || {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings).expect("the extension is added once");
        env.add_extension(extensions::lists).expect("the extension is added once");
        for (name, id, from_end) in
            [("indexOf", "list_index_of", false), ("lastIndexOf", "list_last_index_of", true)]
        {
            let find = if from_end { list_last_index_of } else { list_index_of };
            env.add_member_overload(name, id, LIST_TYPE, vec![DYN_TYPE], find)
                .expect("the overload is new");
        }
        Arc::new(env)
    };
    Arc::clone(ENVIRONMENT.get_or_init(make))
}

fn list_position(args: &[CowVal<'_, '_>], from_end: bool) -> Result<i64, ExecutionError> {
    let [list, item] = args else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    let (list, item) = (Cel::try_from(list.as_ref())?, Cel::try_from(item.as_ref())?);
    let Cel::List(list) = list else { return Err(ExecutionError::unsupported_target_type(list)) };
    let at = if from_end {
        list.iter().rposition(|other| *other == item)
    } else {
        list.iter().position(|other| *other == item)
    };
    Ok(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn list_index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(cel::common::types::CelInt::from(list_position(&args, false)?)))
}

fn list_last_index_of<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(cel::common::types::CelInt::from(list_position(&args, true)?)))
}

/// The environment with the functions that Kubernetes adds.
pub(super) fn context() -> Context<'static, 'static> {
    let mut context = Context::with_env(environment());
    let added = [
        context.add_function("isSorted", |This(list): This<Cel>| {
            Ok::<_, ExecutionError>(elements(&list)?.windows(2).all(|pair| pair[0] <= pair[1]))
        }),
        context.add_function("sum", |This(list): This<Cel>| sum(&list)),
        context.add_function("min", |This(list): This<Cel>| extreme(&list, "min", |a, b| a < b)),
        context.add_function("max", |This(list): This<Cel>| extreme(&list, "max", |a, b| a > b)),
        context.add_function("find", |This(text): This<Arc<String>>, pattern: Arc<String>| {
            let found = regex(&pattern)?.find(&text).map(|found| found.as_str().to_owned());
            Ok::<_, ExecutionError>(Cel::from(found.unwrap_or_default()))
        }),
        context.add_function("findAll", |This(text): This<Arc<String>>, pattern: Arc<String>| {
            let found: Vec<Cel> =
                regex(&pattern)?.find_iter(&text).map(|found| Cel::from(found.as_str())).collect();
            Ok::<_, ExecutionError>(Cel::List(Arc::new(found)))
        }),
        context.add_function("isURL", |text: Arc<String>| is_url(&text)),
        context.add_function("isIP", |text: Arc<String>| text.parse::<std::net::IpAddr>().is_ok()),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "{added:?}");
    context
}

fn elements(list: &Cel) -> Result<&[Cel], ExecutionError> {
    let Cel::List(items) = list else {
        return Err(ExecutionError::unsupported_target_type(list.clone()));
    };
    Ok(items)
}

fn sum(list: &Cel) -> Result<Cel, ExecutionError> {
    let overflow = || ExecutionError::function_error("sum", "integer overflow");
    elements(list)?.iter().try_fold(Cel::Int(0), |total, item| match (total, item) {
        (Cel::Int(total), Cel::Int(item)) => {
            total.checked_add(*item).map(Cel::Int).ok_or_else(overflow)
        }
        (Cel::Int(0), other @ (Cel::Float(_) | Cel::UInt(_) | Cel::Duration(_))) => {
            Ok(other.clone())
        }
        (Cel::Float(total), Cel::Float(item)) => Ok(Cel::Float(total + item)),
        (Cel::UInt(total), Cel::UInt(item)) => {
            total.checked_add(*item).map(Cel::UInt).ok_or_else(overflow)
        }
        (Cel::Duration(total), Cel::Duration(item)) => {
            total.checked_add(item).map(Cel::Duration).ok_or_else(overflow)
        }
        (_, other) => Err(ExecutionError::unsupported_target_type(other.clone())),
    })
}

fn extreme(
    list: &Cel,
    name: &str,
    better: impl Fn(&Cel, &Cel) -> bool,
) -> Result<Cel, ExecutionError> {
    let mut items = elements(list)?.iter();
    let first = items.next().ok_or_else(|| {
        ExecutionError::function_error(name, format!("{name} called on empty list"))
    })?;
    Ok(items.fold(first, |best, item| if better(item, best) { item } else { best }).clone())
}

fn regex(pattern: &str) -> Result<Regex, ExecutionError> {
    Regex::new(pattern).map_err(|error| ExecutionError::function_error("find", error))
}

/// An absolute URL with a host, or an absolute path.
fn is_url(text: &str) -> bool {
    let uri = text.parse::<http::Uri>();
    uri.is_ok_and(|uri| {
        (uri.scheme().is_some() && uri.host().is_some())
            || (text.starts_with('/') && uri.scheme().is_none())
    })
}

/// The optional type is private to the evaluator, so the evaluator makes it.
pub(super) fn optional(value: Option<Cel>) -> Cel {
    let mut context = Context::with_env(environment());
    let made = match value {
        Some(value) => {
            context.add_variable_from_value("value", value);
            environment().compile("optional.of(value)")
        }
        None => environment().compile("optional.none()"),
    };
    made.ok().and_then(|program| program.execute(&context).ok()).unwrap_or(Cel::Null)
}
