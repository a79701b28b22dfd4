//! `x-kubernetes-validations`: CEL rules of custom resources, with Kubernetes' own functions.

mod functions;
mod values;

use std::thread;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, ExecutionError, Program, Value as Cel};
use serde_json::Value;

use self::functions::{FUNCTIONS, LIBRARIES, VARIABLES, context, environment, optional};
use self::values::to_cel;
use crate::schema::{FieldError, Schema, Type};

/// Bytes of the longest rule; a longer one would only exhaust the parser.
const RULE_BYTES_MAX: usize = 8 * 1024;
/// The deepest nesting of brackets and operators: parser and evaluator recurse.
const NESTING_MAX: usize = 32;
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Expressions up to this depth are evaluated on the caller's stack.
const INLINE_DEPTH_MAX: usize = 16;
/// The greatest depth of a parsed expression; a chain of fields makes it deep as well.
const EXPRESSION_DEPTH_MAX: usize = 128;
/// A bound of the cost of one evaluation: elements to the power of nested loops. Kubernetes has a cost budget too.
const WORK_MAX: f64 = 5e6;

/// One rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: &'static str,
    field_path: String,
    /// A transition rule: it uses `oldSelf` and is checked on updates only.
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
        let (mut functions, variables, loops) = calls_names_and_loops(program.expression());
        let mut names = variables.clone();
        if let Some(expression) = &message_expression {
            let (more_functions, more_names, _) = calls_names_and_loops(expression.expression());
            functions.extend(more_functions);
            names.extend(more_names);
        }
        let library = names.iter().find(|name| LIBRARIES.contains(&name.as_str()));
        let unsupported = functions
            .iter()
            .find(|name| !FUNCTIONS.contains(&name.as_str()))
            .or(library)
            .map(|name| format!("the function {name} is not supported"));
        if let Some(name) =
            names.iter().find(|name| !VARIABLES.contains(&name.as_str()) && library.is_none())
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

    /// The unsupported functions because of which the rule is not checked.
    pub(crate) fn unsupported(&self) -> impl Iterator<Item = &str> {
        self.unsupported.as_deref().into_iter()
    }

    /// Checks the value `this` at path `at`.
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
            return Some(self.violation(this, schema, at, "validation failed due to running out of cost budget, no further validation rules will be run"));
        }
        let evaluate = || self.evaluate(this, old, schema);
        let failed = match self.depth > INLINE_DEPTH_MAX {
            true => {
                on_large_stack(evaluate).unwrap_or_else(|| Err("the evaluation failed".to_owned()))
            }
            false => evaluate(),
        };
        failed.err().map(|failed| self.violation(this, schema, at, &failed))
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

    fn violation(&self, this: &Value, schema: &Schema, at: &str, detail: &str) -> FieldError {
        let field = format!("{at}{}", self.field_path);
        let kind = schema.kind.map_or("object", Type::name);
        let message = match self.reason {
            "FieldValueForbidden" => format!("Forbidden: {detail}"),
            "FieldValueRequired" => format!("Required value: {detail}"),
            "FieldValueDuplicate" => format!("Duplicate value: {kind:?}: {detail}"),
            _ => match schema.kind {
                // Maps and lists are not repeated in the message.
                Some(Type::Object | Type::Array) | None => format!("Invalid value: {detail}"),
                Some(_) => format!("Invalid value: {this}: {detail}"),
            },
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
    let compiled = on_large_stack(parse).unwrap_or_else(|| Err("the parser failed".to_owned()));
    compiled.map_err(|detail| refuse(&detail))
}

/// Runs deep recursion on a thread of its own: the parser takes up to 100 kB of stack for each bracket, more than
/// a server's threads have.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        worker.ok().and_then(|worker| worker.join().ok())
    })
}

/// An upper bound of what the parser has on its stack: open brackets, and in each the consecutive unary operators and the alternatives.
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
fn calls_names_and_loops(expression: &IdedExpr) -> (Vec<String>, Vec<String>, usize) {
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

/// The number of values in `value`, itself included.
fn count(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

#[cfg(test)]
mod tests;
