//! Query templates: the part of Go's text/template that queries use, with every other action refused by name.

use std::collections::BTreeMap;

use serin_core::model::Canary;

/// Longer queries do not fit into a URL.
const OUTPUT_MAX: usize = 32 * 1024;
/// Parentheses within parentheses; queries have one or two.
const DEPTH_MAX: u32 = 16;
/// Arguments of one call; each may be as long as a query.
const ARGUMENTS_MAX: usize = 32;
/// `$variables` of one template; each may be as long as a query.
const LOCALS_MAX: usize = 32;
/// Of the template itself, comments included.
const TEMPLATE_MAX: usize = 4 * OUTPUT_MAX;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("an action is not closed: {{{{{0}")]
    Unclosed(String),
    #[error(
        "{{{{ {0} }}}} is not supported: use name, namespace, target, service, ingress, route, interval, variables.KEY, printf, print, index and $variables"
    )]
    Unsupported(String),
    #[error("{{{{ {action} }}}}: {why}")]
    Invalid { action: String, why: String },
    #[error("templateVariables has no {0}")]
    MissingVariable(String),
    #[error("the query is longer than {OUTPUT_MAX} bytes")]
    TooLong,
}

/// The query of a template for one canary. A variable that is missing is an error, never an empty text.
pub fn render(
    template: &str,
    canary: &Canary,
    interval: &str,
    variables: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    if template.len() > TEMPLATE_MAX {
        return Err(TemplateError::TooLong);
    }
    let spec = &canary.spec;
    let target = spec.target.name.as_str();
    let functions = BTreeMap::from([
        ("name", canary.key.name.as_str()),
        ("namespace", canary.key.namespace.as_str()),
        ("target", target),
        ("service", spec.service.name.as_str()),
        ("ingress", spec.ingress.as_deref().unwrap_or(target)),
        ("route", spec.route.as_deref().unwrap_or(target)),
        ("interval", interval),
    ]);
    let mut scope = Scope { functions, variables, locals: BTreeMap::new() };
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = action(after)?;
        let (trim_before, action, trim_after) = trimmed(action);
        out.push_str(if trim_before { before.trim_end() } else { before });
        if let Some(text) = scope.run(action)? {
            out.push_str(&text);
        }
        rest = if trim_after { after.trim_start() } else { after };
        if out.len() > OUTPUT_MAX {
            return Err(TemplateError::TooLong);
        }
    }
    out.push_str(rest);
    if out.len() > OUTPUT_MAX {
        return Err(TemplateError::TooLong);
    }
    Ok(out)
}

/// What stands before the closing braces, minding that a quoted text may have some.
fn action(text: &str) -> Result<(&str, &str), TemplateError> {
    let mut quote = None;
    let mut escaped = false;
    let is_comment = text.trim_start_matches('-').trim_start().starts_with("/*");
    for (at, c) in text.char_indices() {
        match quote {
            None if !is_comment && (c == '"' || c == '`') => quote = Some(c),
            None if text[at..].starts_with("}}") => return Ok((&text[..at], &text[at + 2..])),
            None => {}
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
    }
    Err(TemplateError::Unclosed(text.chars().take(40).collect()))
}

/// Go's trim markers: a dash beside the braces with space on its other side.
fn trimmed(action: &str) -> (bool, &str, bool) {
    let spaced = |c: char| c.is_ascii_whitespace();
    let (before, action) = match action.strip_prefix('-') {
        Some(rest) if rest.starts_with(spaced) => (true, rest),
        Some(_) | None => (false, action),
    };
    let (after, action) = match action.strip_suffix('-') {
        Some(rest) if rest.ends_with(spaced) => (true, rest),
        Some(_) | None => (false, action),
    };
    (before, action.trim(), after)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Field(String),
    Local(String),
    Open,
    Close,
    Pipe,
    Assign,
}

#[derive(Clone, Debug)]
enum Datum {
    Text(String),
    Number(i64),
    Map,
}

struct Scope<'a> {
    functions: BTreeMap<&'static str, &'a str>,
    variables: &'a BTreeMap<String, String>,
    locals: BTreeMap<String, Datum>,
}

impl Scope<'_> {
    /// The text of one action; none for a comment or an assignment.
    fn run(&mut self, action: &str) -> Result<Option<String>, TemplateError> {
        if action.starts_with("/*") {
            return match action.ends_with("*/") {
                true => Ok(None),
                false => Err(TemplateError::Unclosed(action.to_owned())),
            };
        }
        let invalid =
            |why: &str| TemplateError::Invalid { action: action.to_owned(), why: why.to_owned() };
        let tokens = tokens(action)?;
        let (local, tokens) = match tokens.as_slice() {
            [] => return Err(invalid("it is empty")),
            [Token::Local(name), Token::Assign, rest @ ..] => (Some(name.clone()), rest),
            all => (None, all),
        };
        let mut cursor = Cursor { tokens, action };
        let datum = self.pipeline(&mut cursor, 0)?;
        if !cursor.tokens.is_empty() {
            return Err(invalid("there is something behind its end"));
        }
        if let Some(local) = local {
            if self.locals.len() >= LOCALS_MAX && !self.locals.contains_key(&local) {
                return Err(invalid(&format!("a template has at most {LOCALS_MAX} variables")));
            }
            self.locals.insert(local, datum);
            return Ok(None);
        }
        match datum {
            Datum::Text(text) => Ok(Some(text)),
            Datum::Number(number) => Ok(Some(number.to_string())),
            Datum::Map => Err(invalid("name one of the variables: variables.KEY")),
        }
    }

    fn pipeline(&self, cursor: &mut Cursor<'_>, depth: u32) -> Result<Datum, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(cursor.invalid("it is nested too deeply"));
        }
        let mut value = self.command(cursor, None, depth)?;
        while cursor.take(&Token::Pipe) {
            value = self.command(cursor, Some(value), depth)?;
        }
        Ok(value)
    }

    /// A function with its arguments, the piped value last.
    fn command(
        &self,
        cursor: &mut Cursor<'_>,
        piped: Option<Datum>,
        depth: u32,
    ) -> Result<Datum, TemplateError> {
        if let [Token::Word(word), ..] = cursor.tokens
            && ["printf", "print", "index"].contains(&word.as_str())
        {
            cursor.next();
            let mut arguments = Vec::new();
            while !matches!(cursor.tokens, [] | [Token::Pipe | Token::Close, ..]) {
                if arguments.len() >= ARGUMENTS_MAX {
                    return Err(
                        cursor.invalid(&format!("it has at most {ARGUMENTS_MAX} arguments"))
                    );
                }
                arguments.push(self.operand(cursor, depth)?);
            }
            arguments.extend(piped);
            return match word.as_str() {
                "index" => self.index(cursor, &arguments),
                "print" => print(&arguments),
                _printf => printf(cursor, &arguments),
            };
        }
        let value = self.operand(cursor, depth)?;
        if piped.is_some() || !matches!(cursor.tokens, [] | [Token::Pipe | Token::Close, ..]) {
            return Err(cursor.invalid("it takes no arguments"));
        }
        Ok(value)
    }

    fn operand(&self, cursor: &mut Cursor<'_>, depth: u32) -> Result<Datum, TemplateError> {
        let datum = match cursor.next() {
            Some(Token::Text(text)) => Datum::Text(text),
            Some(Token::Number(number)) => Datum::Number(number),
            Some(Token::Local(name)) => {
                let local = self.locals.get(&name).cloned();
                local.ok_or_else(|| cursor.invalid(&format!("${name} is not set")))?
            }
            Some(Token::Word(word)) if word == "variables" => Datum::Map,
            Some(Token::Word(word)) => match self.functions.get(word.as_str()) {
                Some(text) => Datum::Text((*text).to_owned()),
                None => return Err(TemplateError::Unsupported(cursor.action.to_owned())),
            },
            Some(Token::Open) => {
                let datum = self.pipeline(cursor, depth + 1)?;
                if !cursor.take(&Token::Close) {
                    return Err(cursor.invalid("a parenthesis is not closed"));
                }
                datum
            }
            Some(Token::Field(_)) => {
                return Err(TemplateError::Unsupported(cursor.action.to_owned()));
            }
            Some(Token::Close | Token::Pipe | Token::Assign) | None => {
                return Err(cursor.invalid("a value is missing"));
            }
        };
        match (datum, cursor.tokens) {
            (Datum::Map, [Token::Field(key), rest @ ..]) => {
                cursor.tokens = rest;
                self.variable(key)
            }
            (Datum::Text(_) | Datum::Number(_), [Token::Field(_), ..]) => {
                Err(cursor.invalid("only variables has fields"))
            }
            (datum, _) => Ok(datum),
        }
    }

    fn index(&self, cursor: &Cursor<'_>, arguments: &[Datum]) -> Result<Datum, TemplateError> {
        match arguments {
            [Datum::Map, Datum::Text(key)] => self.variable(key),
            _ => Err(cursor.invalid("write index variables \"KEY\"")),
        }
    }

    fn variable(&self, key: &str) -> Result<Datum, TemplateError> {
        let value = self.variables.get(key).cloned().map(Datum::Text);
        value.ok_or_else(|| TemplateError::MissingVariable(key.to_owned()))
    }
}

struct Cursor<'a> {
    tokens: &'a [Token],
    action: &'a str,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.tokens.first() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn invalid(&self, why: &str) -> TemplateError {
        TemplateError::Invalid { action: self.action.to_owned(), why: why.to_owned() }
    }
}

fn print(arguments: &[Datum]) -> Result<Datum, TemplateError> {
    let text: String = arguments.iter().map(shown).collect();
    short(text)
}

/// A text that is used over and over could double each time.
fn short(text: String) -> Result<Datum, TemplateError> {
    if text.len() > OUTPUT_MAX { Err(TemplateError::TooLong) } else { Ok(Datum::Text(text)) }
}

fn shown(datum: &Datum) -> String {
    match datum {
        Datum::Text(text) => text.clone(),
        Datum::Number(number) => number.to_string(),
        Datum::Map => "map[]".to_owned(),
    }
}

/// `%s`, `%v`, `%d`, `%q` and `%%`.
fn printf(cursor: &Cursor<'_>, arguments: &[Datum]) -> Result<Datum, TemplateError> {
    let Some((Datum::Text(format), arguments)) = arguments.split_first() else {
        return Err(cursor.invalid("printf needs a format"));
    };
    let mut arguments = arguments.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let Some(argument) = arguments.next() else {
            return Err(cursor.invalid("printf has fewer arguments than verbs"));
        };
        match (verb, argument) {
            (Some('s'), Datum::Text(text)) => out.push_str(text),
            (Some('v'), Datum::Text(_) | Datum::Number(_)) => out.push_str(&shown(argument)),
            (Some('d'), Datum::Number(number)) => out.push_str(&number.to_string()),
            (Some('q'), Datum::Text(text)) => out.push_str(&serde_json::json!(text).to_string()),
            (_, _) => {
                return Err(cursor.invalid("printf takes %s, %v, %d and %q of what fits them"));
            }
        }
    }
    match arguments.next() {
        Some(_) => Err(cursor.invalid("printf has more arguments than verbs")),
        None => short(out),
    }
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let unsupported = || TemplateError::Unsupported(action.to_owned());
    let mut tokens = Vec::new();
    let mut rest = action;
    while let Some(c) = rest.chars().next() {
        let word_end = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        };
        let (token, length) = match c {
            c if c.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ':' if rest.starts_with(":=") => (Token::Assign, 2),
            '"' | '`' => literal(rest).ok_or_else(unsupported)?,
            '.' | '$' => {
                let end = word_end(&rest[1..]);
                if end == 0 {
                    return Err(unsupported());
                }
                let word = rest[1..=end].to_owned();
                (if c == '.' { Token::Field(word) } else { Token::Local(word) }, end + 1)
            }
            c if c.is_ascii_digit() => {
                let end = word_end(rest);
                (Token::Number(rest[..end].parse().map_err(|_| unsupported())?), end)
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(rest);
                (Token::Word(rest[..end].to_owned()), end)
            }
            _other => return Err(unsupported()),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// A quoted text at the start, and its length in the source.
fn literal(text: &str) -> Option<(Token, usize)> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`')?;
        return Some((Token::Text(raw[..end].to_owned()), end + 2));
    }
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Token::Text(out), at + 1)),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c @ ('"' | '\\') => c,
                _other => return None,
            }),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests;
