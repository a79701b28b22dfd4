//! `x-kubernetes-validations`: CEL rules of custom resources, with Kubernetes' own functions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::thread;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::common::types::{DYN_TYPE, LIST_TYPE};
use cel::common::value::CowVal;
use cel::extractors::This;
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, Value as Cel, extensions};
use regex::Regex;
use serde_json::Value;

use crate::schema::{Additional, FieldError, Schema, Type};

/// Longer rules than any in use; what is longer would only exhaust the parser.
const RULE_BYTES_MAX: usize = 8 * 1024;
/// Brackets and operators inside each other. The parser and the evaluator recurse.
const NESTING_MAX: usize = 32;
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Expressions up to this depth are evaluated where they are asked for.
const SHALLOW: usize = 16;
/// The depth of the parsed expression; a chain of fields makes it deep as well.
const EXPRESSION_DEPTH_MAX: usize = 128;
/// What one evaluation may touch, roughly: elements to the power of nested loops. Kubernetes has a cost budget too.
const WORK_MAX: f64 = 5e6;

/// Functions that rules may call. A rule that calls any other is reported and not checked.
const FUNCTIONS: &[&str] = &[
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

/// One rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: &'static str,
    field_path: String,
    /// It compares with the old value and is checked on updates only.
    transition: bool,
    optional_old: bool,
    unsupported: Option<String>,
    loops: usize,
    depth: usize,
}

impl Rule {
    /// Compiles a rule; the error's field is relative to it.
    pub(crate) fn parse(json: &Value) -> Result<Rule, FieldError> {
        let text = |name: &str| {
            json.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
        };
        let Some(source) = text("rule") else {
            return Err(FieldError::new(
                "rule",
                "FieldValueRequired",
                "Required value: rule is not specified",
            ));
        };
        let program = compile(source, "rule")?;
        let message_expression = text("messageExpression")
            .map(|source| compile(source, "messageExpression"))
            .transpose()?;
        let reason = match text("reason") {
            None | Some("FieldValueInvalid") => "FieldValueInvalid",
            Some("FieldValueForbidden") => "FieldValueForbidden",
            Some("FieldValueRequired") => "FieldValueRequired",
            Some("FieldValueDuplicate") => "FieldValueDuplicate",
            Some(other) => {
                let message = format!(
                    "Unsupported value: {other:?}: supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\""
                );
                return Err(FieldError::new("reason", "FieldValueNotSupported", message));
            }
        };
        let (mut functions, variables, loops) = survey(program.expression());
        let mut names = variables.clone();
        if let Some(expression) = &message_expression {
            let (more_functions, more_names, _) = survey(expression.expression());
            functions.extend(more_functions);
            names.extend(more_names);
        }
        let foreign = names.iter().find(|name| LIBRARIES.contains(&name.as_str()));
        let unsupported = functions
            .iter()
            .find(|name| !FUNCTIONS.contains(&name.as_str()))
            .or(foreign)
            .map(|name| format!("the function {name} is not supported"));
        if let Some(name) =
            names.iter().find(|name| !VARIABLES.contains(&name.as_str()) && foreign.is_none())
        {
            let detail =
                format!("compilation failed: undeclared reference to '{name}' (in container '')");
            return Err(FieldError::invalid("rule", &source.into(), detail));
        }
        Ok(Rule {
            source: source.to_owned(),
            message: text("message").map(str::to_owned),
            message_expression,
            reason,
            field_path: text("fieldPath").unwrap_or_default().to_owned(),
            transition: variables.iter().any(|name| name == "oldSelf"),
            optional_old: json.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false),
            unsupported,
            loops,
            depth: depth(program.expression()),
            program,
        })
    }

    /// Why the rule is not checked, if it is not.
    pub(crate) fn unsupported(&self) -> impl Iterator<Item = &str> {
        self.unsupported.as_deref().into_iter()
    }

    /// What the rule has against `this`, which is at `at`.
    pub(crate) fn check(
        &self,
        this: &Value,
        old: Option<&Value>,
        schema: &Schema,
        at: &str,
    ) -> Option<FieldError> {
        if self.unsupported.is_some() || (self.transition && old.is_none() && !self.optional_old) {
            return None;
        }
        let nodes = count(this) + old.map_or(0, count);
        if (nodes as f64).powi(self.loops.try_into().unwrap_or(i32::MAX)) > WORK_MAX {
            return Some(self.violation(schema, at, "validation failed due to running out of cost budget, no further validation rules will be run"));
        }
        let evaluate = || self.evaluate(this, old, schema);
        let failed = match self.depth > SHALLOW {
            true => with_room(evaluate).unwrap_or_else(|| Err("the evaluation failed".to_owned())),
            false => evaluate(),
        };
        failed.err().map(|failed| self.violation(schema, at, &failed))
    }

    fn evaluate(&self, this: &Value, old: Option<&Value>, schema: &Schema) -> Result<(), String> {
        let mut context = context();
        context.add_variable_from_value("self", to_cel(this, Some(schema)));
        if self.transition {
            let old = old.map(|old| to_cel(old, Some(schema)));
            let old = if self.optional_old { optional(old) } else { old.unwrap_or(Cel::Null) };
            context.add_variable_from_value("oldSelf", old);
        }
        match self.program.execute(&context) {
            Ok(Cel::Bool(true)) => Ok(()),
            Ok(Cel::Bool(false)) => Err(self.explanation(&context)),
            Ok(other) => {
                Err(format!("rule must be a bool but gave a {}: {}", other.type_of(), self.source))
            }
            Err(error) => Err(format!(
                "{} evaluating rule: {}",
                lower(&error),
                self.message.as_deref().unwrap_or(&self.source)
            )),
        }
    }

    fn explanation(&self, context: &Context<'_, '_>) -> String {
        if let Some(expression) = &self.message_expression
            && let Ok(Cel::String(text)) = expression.execute(context)
            && !text.trim().is_empty()
            && !text.contains('\n')
        {
            return text.trim().to_owned();
        }
        match &self.message {
            Some(message) => message.clone(),
            None => format!("failed rule: {}", self.source),
        }
    }

    fn violation(&self, schema: &Schema, at: &str, detail: &str) -> FieldError {
        let field = format!("{at}{}", self.field_path);
        let kind = schema.kind.map_or("object", Type::name);
        let message = match self.reason {
            "FieldValueForbidden" => format!("Forbidden: {detail}"),
            "FieldValueRequired" => format!("Required value: {detail}"),
            "FieldValueDuplicate" => format!("Duplicate value: {kind:?}: {detail}"),
            _ => format!("Invalid value: {kind:?}: {detail}"),
        };
        FieldError::new(field.trim_start_matches('.'), self.reason, message)
    }
}

/// Kubernetes begins such messages in lower case, as in `no such key: replicas`.
fn lower(error: &ExecutionError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

/// The names a rule may use; the others are types, and `optional` is where its functions live.
const VARIABLES: &[&str] = &[
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

/// Where Kubernetes keeps functions that are not supported here.
const LIBRARIES: &[&str] = &["format", "sets", "math", "lists", "strings", "base64", "semver"];

fn compile(source: &str, field: &str) -> Result<Program, FieldError> {
    let refuse = |detail: &str| {
        FieldError::invalid(field, &source.into(), format!("compilation failed: {detail}"))
    };
    if source.len() > RULE_BYTES_MAX {
        return Err(FieldError::new(
            field,
            "FieldValueTooLong",
            format!("Too long: may not be more than {RULE_BYTES_MAX} bytes"),
        ));
    }
    if nesting(source) > NESTING_MAX {
        return Err(refuse(&format!("nested deeper than {NESTING_MAX} levels")));
    }
    let parse = || {
        let program = environment().compile(source).map_err(|errors| errors.to_string())?;
        match depth(program.expression()) > EXPRESSION_DEPTH_MAX {
            true => Err(format!("nested deeper than {EXPRESSION_DEPTH_MAX} levels")),
            false => Ok(program),
        }
    };
    let compiled = with_room(parse).unwrap_or_else(|| Err("the parser failed".to_owned()));
    compiled.map_err(|detail| refuse(&detail))
}

/// Runs what recurses deeply on a thread of its own: the parser takes up to 100 kB of stack for each bracket, more than
/// the threads of a server have to spare.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        worker.ok().and_then(|worker| worker.join().ok())
    })
}

/// An upper bound of what the parser has on its stack: open brackets, and in each the signs in a row and the choices.
fn nesting(source: &str) -> usize {
    let (mut open, mut here, mut deepest, mut signs) = (Vec::new(), 0usize, 0usize, 0usize);
    for char in source.chars() {
        match char {
            '(' | '[' | '{' => {
                open.push(here);
                here += signs + 1;
            }
            ')' | ']' | '}' => here = open.pop().unwrap_or_default(),
            '?' => here += 1,
            '!' | '-' => signs += 1,
            _ => {}
        }
        deepest = deepest.max(here + signs);
        if !matches!(char, '!' | '-' | ' ' | '\t' | '\n' | '\r') {
            signs = 0;
        }
    }
    deepest
}

/// The depth of an expression, counted level by level.
fn depth(expression: &IdedExpr) -> usize {
    let mut level = vec![expression];
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        level = level.into_iter().flat_map(|expression| parts(&expression.expr)).collect();
    }
    depth
}

/// The expressions directly inside one.
fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(all) => {
            vec![&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(made) => {
            made.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect()
        }
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The functions called, the free variables, and how deep loops are nested.
fn survey(expression: &IdedExpr) -> (Vec<String>, Vec<String>, usize) {
    let (mut functions, mut variables, mut loops) = (Vec::new(), Vec::new(), 0);
    let mut work: Vec<(&IdedExpr, usize, Vec<&str>)> = vec![(expression, 0, Vec::new())];
    while let Some((expression, inside, bound)) = work.pop() {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only two kinds name anything")]
        match &expression.expr {
            Expr::Call(call)
                if call
                    .func_name
                    .chars()
                    .all(|char| char.is_ascii_alphanumeric() || char == '.') =>
            {
                functions.push(call.func_name.clone());
            }
            Expr::Ident(name) if !name.starts_with('@') && !bound.contains(&name.as_str()) => {
                variables.push(name.clone())
            }
            _ => {}
        }
        if let Expr::Comprehension(all) = &expression.expr {
            loops = loops.max(inside + 1);
            work.push((&all.iter_range, inside, bound.clone()));
            work.push((&all.accu_init, inside, bound.clone()));
            let mut within = bound;
            within.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
            within.extend(all.iter_var2.as_deref());
            work.push((&all.loop_cond, inside + 1, within.clone()));
            work.push((&all.loop_step, inside + 1, within.clone()));
            work.push((&all.result, inside, within));
            continue;
        }
        work.extend(parts(&expression.expr).into_iter().map(|part| (part, inside, bound.clone())));
    }
    (functions, variables, loops)
}

fn environment() -> Arc<Env> {
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
fn context() -> Context<'static, 'static> {
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
fn optional(value: Option<Cel>) -> Cel {
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

/// How many values there are in one.
fn count(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// A value with the types that its schema gives it: 1 is a double where the schema says number.
fn to_cel(value: &Value, schema: Option<&Schema>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::String(text) => text_to_cel(text, schema),
        Value::Number(number) => {
            let double = schema
                .is_some_and(|schema| schema.kind == Some(Type::Number) && !schema.int_or_string);
            let whole = schema.is_some_and(|schema| schema.kind == Some(Type::Integer));
            match (number.as_i64(), number.as_f64()) {
                (Some(number), _) if !double => Cel::Int(number),
                (None, Some(number)) if whole && number.fract() == 0.0 => Cel::Int(number as i64),
                (_, Some(number)) => Cel::Float(number),
                (_, None) => Cel::Null,
            }
        }
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            Cel::List(Arc::new(list.iter().map(|item| to_cel(item, items)).collect()))
        }
        Value::Object(map) => {
            let fields: BTreeMap<String, Cel> =
                map.iter().filter_map(|(name, value)| field_to_cel(name, value, schema)).collect();
            let fields: HashMap<Key, Cel> =
                fields.into_iter().map(|(name, value)| (Key::from(name), value)).collect();
            Cel::Map(Map::from(fields))
        }
    }
}

/// A field under its name in CEL. Null is absent; a field unknown to the schema cannot be seen.
fn field_to_cel(name: &str, value: &Value, schema: Option<&Schema>) -> Option<(String, Cel)> {
    let Some(schema) = schema else { return Some((name.to_owned(), to_cel(value, None))) };
    match (schema.properties.get(name), &schema.additional) {
        (Some(_), _) if value.is_null() => None,
        (Some(property), _) => Some((escaped(name), to_cel(value, Some(property)))),
        (None, Additional::Values(values)) => Some((name.to_owned(), to_cel(value, Some(values)))),
        (None, Additional::Anything) => Some((name.to_owned(), to_cel(value, None))),
        (None, Additional::Nothing) if schema.preserve => {
            Some((name.to_owned(), to_cel(value, None)))
        }
        (None, Additional::Nothing) => None,
    }
}

fn text_to_cel(text: &str, schema: Option<&Schema>) -> Cel {
    match schema.and_then(|schema| schema.format.as_deref()) {
        Some("date-time") => match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => Cel::Timestamp(time),
            Err(_) => Cel::from(text),
        },
        Some("duration") => match crate::schema::duration_nanos(text) {
            Some(nanos) => Cel::Duration(chrono::Duration::nanoseconds(nanos)),
            None => Cel::from(text),
        },
        Some(_) | None => Cel::from(text),
    }
}

/// Property names that are no CEL identifiers, as Kubernetes escapes them.
fn escaped(name: &str) -> String {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests;
