//! From words to a query whose types fit, as Prometheus checks them before it looks at a sample.

use super::aggregate;
use super::call::{self, Function};
use super::lex::{Token, error, lex};
use super::{
    Aggregate, At, Binary, Error, Expr, Kind, Matcher, Matching, NAME, Op, Selector, Shift, Side,
    Test, anchored,
};

/// Queries of people nest a dozen levels; evaluation recurses, and its stack is bounded by this.
const DEPTH_MAX: usize = 64;

/// Parses and checks a query.
pub fn parse(query: &str) -> Result<Expr, Error> {
    let mut parser = Parser { query, tokens: lex(query)?, at: 0, depth: 0 };
    if parser.peek() == &Token::End {
        return Err(error(query, 0, "no expression found in input"));
    }
    let (expr, _) = parser.expr(0)?;
    if parser.peek() == &Token::End { Ok(expr) } else { Err(parser.unexpected("after the query")) }
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// An expression and how deep it is.
type Parsed = Result<(Expr, usize), Error>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(self.error(message))
    }

    fn error(&self, message: impl Into<String>) -> Error {
        let at = self.tokens.get(self.at).map_or(self.query.len(), |(at, _)| *at);
        error(self.query, at, message)
    }

    fn unexpected(&self, place: &str) -> Error {
        let what = match self.peek() {
            Token::Word(word) => format!("identifier {word:?}"),
            Token::Number(number) => format!("number {number}"),
            Token::Duration(_) => "duration".to_owned(),
            Token::Text(text) => format!("string {text:?}"),
            Token::Sign(sign) => format!("{sign:?}"),
            Token::End => "end of input".to_owned(),
        };
        self.error(format!("unexpected {what} {place}"))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str, place: &str) -> Result<(), Error> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(place)) }
    }

    fn keyword(&self) -> Option<String> {
        match self.peek() {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            Token::Number(_)
            | Token::Duration(_)
            | Token::Text(_)
            | Token::Sign(_)
            | Token::End => None,
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.keyword().is_some_and(|found| found == word);
        self.at += usize::from(found);
        found
    }

    fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= DEPTH_MAX {
            return self.fail(format!("the query is nested deeper than {DEPTH_MAX} levels"));
        }
        Ok(depth + 1)
    }

    /// Precedence climbing: operators that bind at least as tight as `min`.
    fn expr(&mut self, min: u8) -> Parsed {
        self.depth = self.deeper(self.depth)?;
        let (mut left, mut depth) = self.unary()?;
        while let Some((op, binds)) = self.operator().filter(|(_, binds)| *binds >= min) {
            let place = self.at;
            self.at += 1;
            let (returns_bool, matching, grouped) = self.modifiers(op)?;
            let (right, right_depth) = self.expr(if op == Op::Pow { binds } else { binds + 1 })?;
            depth = self.deeper(depth.max(right_depth))?;
            let binary = Binary { op, returns_bool, matching, left, right };
            check(&binary, grouped).map_err(|why| self.error_at(place, why))?;
            left = Expr::Binary(Box::new(binary));
        }
        self.depth -= 1;
        Ok((left, depth))
    }

    fn error_at(&self, token: usize, message: impl Into<String>) -> Error {
        let at = self.tokens.get(token).map_or(0, |(at, _)| *at);
        error(self.query, at, message)
    }

    fn operator(&self) -> Option<(Op, u8)> {
        let word = self.keyword();
        let text = match (self.peek(), &word) {
            (Token::Sign(sign), _) => sign,
            (_, Some(word)) => word.as_str(),
            (_, None) => return None,
        };
        Some(match text {
            "or" => (Op::Or, 1),
            "and" => (Op::And, 2),
            "unless" => (Op::Unless, 2),
            "==" => (Op::Equal, 3),
            "!=" => (Op::NotEqual, 3),
            "<" => (Op::Less, 3),
            ">" => (Op::Greater, 3),
            "<=" => (Op::LessOrEqual, 3),
            ">=" => (Op::GreaterOrEqual, 3),
            "+" => (Op::Add, 4),
            "-" => (Op::Sub, 4),
            "*" => (Op::Mul, 5),
            "/" => (Op::Div, 5),
            "%" => (Op::Mod, 5),
            "atan2" => (Op::Atan2, 5),
            "^" => (Op::Pow, 6),
            _ => return None,
        })
    }

    /// `bool`, then `on` or `ignoring`, then `group_left` or `group_right`.
    fn modifiers(&mut self, op: Op) -> Result<(bool, Matching, bool), Error> {
        let returns_bool = self.take_word("bool");
        if returns_bool && !op.compares() {
            return self.fail("bool modifier can only be used on comparison operators");
        }
        let mut matching = Matching::default();
        let on = self.take_word("on");
        let grouped = on || self.take_word("ignoring");
        if grouped {
            (matching.on, matching.labels) = (on, self.label_list()?);
            let left = self.take_word("group_left");
            if left || self.take_word("group_right") {
                if op.sets() {
                    return self.fail(format!("no grouping allowed for {:?} operation", op.name()));
                }
                matching.many = if left { Side::Left } else { Side::Right };
                if self.is("(") {
                    matching.include = self.label_list()?;
                }
                if let Some(label) =
                    matching.include.iter().find(|l| on && matching.labels.contains(l))
                {
                    return self.fail(format!(
                        "label {label:?} must not occur in ON and GROUP clause at once"
                    ));
                }
            }
        }
        Ok((returns_bool, matching, grouped))
    }

    /// A word without a colon.
    fn label(&mut self) -> Option<String> {
        let Token::Word(word) = self.peek() else { return None };
        let label = (!word.contains(':')).then(|| word.clone())?;
        self.at += 1;
        Some(label)
    }

    fn label_list(&mut self) -> Result<Vec<String>, Error> {
        self.expect("(", "in grouping opts, expected \"(\"")?;
        let mut labels = Vec::new();
        while !self.take(")") {
            let Some(label) = self.label() else {
                return Err(self.unexpected("in grouping opts, expected label"));
            };
            labels.push(label);
            if !self.take(",") && !self.is(")") {
                return Err(self.unexpected("in grouping opts, expected \",\" or \")\""));
            }
        }
        Ok(labels)
    }

    fn unary(&mut self) -> Parsed {
        let negative = self.is("-");
        if !(negative || self.is("+")) {
            let (expr, depth) = self.primary()?;
            return self.postfix(expr, depth);
        }
        let place = self.at;
        self.at += 1;
        // Binds weaker than `^` and tighter than everything else.
        let (inner, depth) = self.expr(6)?;
        let kind = inner.kind();
        if !matches!(kind, Kind::Scalar | Kind::Vector) {
            let why = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {kind:?}"
            );
            return Err(self.error_at(place, why));
        }
        Ok((Expr::Unary { negative, inner: Box::new(inner) }, self.deeper(depth)?))
    }

    fn primary(&mut self) -> Parsed {
        let place = self.at;
        match self.next() {
            Token::Number(number) => Ok((Expr::Number(number), 0)),
            Token::Text(text) => Ok((Expr::Text(text), 0)),
            Token::Sign("(") => {
                let (inner, depth) = self.expr(0)?;
                self.expect(")", "in a parenthesis, expected \")\"")?;
                Ok((Expr::Paren(Box::new(inner)), self.deeper(depth)?))
            }
            Token::Sign("{") => {
                self.at = place;
                self.selector(None)
            }
            Token::Word(word) => {
                let op = aggregate::Op::of(&word.to_ascii_lowercase());
                let grouped = self.keyword().is_some_and(|w| w == "by" || w == "without");
                match op {
                    Some(op) if grouped || self.is("(") => self.aggregate(op),
                    _ if self.is("(") => self.call(&word, place),
                    _ => {
                        let reserved = ["and", "or", "unless", "bool", "on", "ignoring", "atan2"];
                        if reserved.contains(&word.to_ascii_lowercase().as_str()) {
                            self.at = place;
                            return Err(self.unexpected("where an expression begins"));
                        }
                        self.selector(Some(word))
                    }
                }
            }
            Token::Duration(_) | Token::Sign(_) | Token::End => {
                self.at = place;
                Err(self.unexpected("where an expression begins"))
            }
        }
    }

    fn selector(&mut self, name: Option<String>) -> Parsed {
        let place = self.at;
        let mut matchers: Vec<Matcher> = Vec::new();
        if self.take("{") {
            while !self.take("}") {
                matchers.push(self.matcher()?);
                if !self.take(",") && !self.is("}") {
                    return Err(self.unexpected("in label matching, expected \",\" or \"}\""));
                }
            }
        }
        if let Some(name) = name {
            if matchers.iter().any(|matcher| matcher.label == NAME) {
                return Err(
                    self.error_at(place, format!("metric name must not be set twice: {name:?}"))
                );
            }
            matchers.push(Matcher { label: NAME.to_owned(), test: Test::Equal(name) });
        }
        if matchers.iter().all(|matcher| matcher.test.holds("")) {
            let why = "vector selector must contain at least one non-empty matcher";
            return Err(self.error_at(place, why));
        }
        Ok((Expr::Vector(Selector { matchers, shift: Shift::default() }), 0))
    }

    fn matcher(&mut self) -> Result<Matcher, Error> {
        let Some(label) = self.label() else {
            return Err(self.unexpected("in label matching, expected identifier or \"}\""));
        };
        let place = self.at;
        let Token::Sign(sign @ ("=" | "!=" | "=~" | "!~")) = self.next() else {
            self.at = place;
            return Err(self.unexpected("in label matching, expected label matching operator"));
        };
        let Token::Text(value) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected("in label matching, expected string"));
        };
        let pattern = |value: &str| anchored(value).map_err(|why| self.error_at(place, why));
        let test = match sign {
            "=" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            "=~" => Test::Like(pattern(&value)?),
            _ => Test::NotLike(pattern(&value)?),
        };
        Ok(Matcher { label, test })
    }

    fn aggregate(&mut self, op: aggregate::Op) -> Parsed {
        let mut grouping = self.grouping()?;
        let place = self.at;
        let (mut args, depth) = self.args()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let wanted = op.parameter();
        let inner = args.pop();
        let (Some(inner), true) = (inner, args.len() == usize::from(wanted.is_some())) else {
            return Err(
                self.error_at(place, "wrong number of arguments for aggregate expression provided")
            );
        };
        let param = args.pop();
        let unlike = |what: &str, wanted: Kind, found: Kind| {
            self.error_at(place, format!("expected type {wanted} in {what}, got {found}"))
        };
        if inner.kind() != Kind::Vector {
            return Err(unlike("aggregation expression", Kind::Vector, inner.kind()));
        }
        if let (Some(param), Some(wanted)) = (&param, wanted)
            && param.kind() != wanted
        {
            return Err(unlike("aggregation parameter", wanted, param.kind()));
        }
        let (without, labels) = grouping.unwrap_or_default();
        let aggregate = Aggregate { op, param, inner, without, labels };
        Ok((Expr::Aggregate(Box::new(aggregate)), self.deeper(depth)?))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, Error> {
        let without = self.take_word("without");
        if without || self.take_word("by") {
            return Ok(Some((without, self.label_list()?)));
        }
        Ok(None)
    }

    fn args(&mut self) -> Result<(Vec<Expr>, usize), Error> {
        self.expect("(", "where arguments begin, expected \"(\"")?;
        let (mut args, mut deepest) = (Vec::new(), 0);
        if self.take(")") {
            return Ok((args, deepest));
        }
        loop {
            let (arg, depth) = self.expr(0)?;
            args.push(arg);
            deepest = deepest.max(depth);
            if self.take(")") {
                return Ok((args, deepest));
            }
            self.expect(",", "in a list of arguments, expected \",\" or \")\"")?;
        }
    }

    fn call(&mut self, name: &str, place: usize) -> Parsed {
        let Some(function) = call::function(name) else {
            let why = if call::REFUSED.contains(&name) {
                format!("the embedded Prometheus has no {name}; use --prometheus for the real one")
            } else {
                format!("unknown function with name {name:?}")
            };
            return Err(self.error_at(place, why));
        };
        let (args, depth) = self.args()?;
        check_args(function, &args).map_err(|why| self.error_at(place, why))?;
        Ok((Expr::Call { function, args }, self.deeper(depth)?))
    }

    /// `[5m]`, `[5m:1m]`, `offset 5m`, `@ 1700000000`.
    fn postfix(&mut self, mut expr: Expr, mut depth: usize) -> Parsed {
        loop {
            let place = self.at;
            if self.take("[") {
                depth = self.deeper(depth)?;
                expr = self.brackets(expr, place)?;
            } else if self.take_word("offset") {
                let negative = self.take("-");
                let Token::Duration(millis) = self.next() else {
                    self.at -= 1;
                    return Err(self.unexpected("in offset, expected duration"));
                };
                let shift = shift(&mut expr).map_err(|()| self.error_at(place, "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"))?;
                if shift.offset.is_some() {
                    return Err(self.error_at(place, "offset may not be set multiple times"));
                }
                shift.offset = Some(if negative { -millis } else { millis });
            } else if self.take("@") {
                let at = self.at_time()?;
                let shift = shift(&mut expr).map_err(|()| self.error_at(place, "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery"))?;
                if shift.at.is_some() {
                    return Err(self.error_at(place, "@ <timestamp> may not be set multiple times"));
                }
                shift.at = Some(at);
            } else {
                return Ok((expr, depth));
            }
        }
    }

    fn brackets(&mut self, expr: Expr, place: usize) -> Result<Expr, Error> {
        let range = self.duration()?;
        if self.take(":") {
            let step = if self.is("]") { None } else { Some(self.duration()?) };
            self.expect("]", "in subquery selector, expected \"]\"")?;
            if expr.kind() != Kind::Vector {
                let why =
                    format!("subquery is only allowed on instant vector, got {}", expr.kind());
                return Err(self.error_at(place, why));
            }
            return Ok(Expr::Subquery {
                inner: Box::new(expr),
                range,
                step,
                shift: Shift::default(),
            });
        }
        self.expect("]", "in range selector, expected \"]\"")?;
        match expr {
            Expr::Vector(selector) if selector.shift.offset.is_some() => {
                Err(self.error_at(place, "no offset modifiers allowed before range"))
            }
            Expr::Vector(selector) if selector.shift.at.is_some() => {
                Err(self.error_at(place, "no @ modifiers allowed before range"))
            }
            Expr::Vector(selector) => Ok(Expr::Matrix { selector, range }),
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Matrix { .. }
            | Expr::Subquery { .. }
            | Expr::Unary { .. }
            | Expr::Binary(_)
            | Expr::Aggregate(_)
            | Expr::Call { .. }
            | Expr::Paren(_) => {
                Err(self.error_at(place, "ranges only allowed for vector selectors"))
            }
        }
    }

    fn duration(&mut self) -> Result<i64, Error> {
        let Token::Duration(millis) = self.peek().clone() else {
            return Err(self.unexpected("in range selector, expected duration"));
        };
        if millis == 0 {
            return self.fail("duration must be greater than 0");
        }
        self.at += 1;
        Ok(millis)
    }

    fn at_time(&mut self) -> Result<At, Error> {
        if self.take_word("start") {
            self.expect("(", "in @")?;
            self.expect(")", "in @")?;
            return Ok(At::Start);
        }
        if self.take_word("end") {
            self.expect("(", "in @")?;
            self.expect(")", "in @")?;
            return Ok(At::End);
        }
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        let Token::Number(secs) = *self.peek() else {
            return Err(self.unexpected("in @, expected timestamp"));
        };
        // Times beyond the year 90,000 are mistakes.
        if !(secs.is_finite() && secs < 3e12) {
            return self.fail("timestamp out of bounds for @ modifier");
        }
        self.at += 1;
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        let millis = (secs * 1000.0).round() as i64;
        Ok(At::Time(if negative { -millis } else { millis }))
    }
}

fn shift(expr: &mut Expr) -> Result<&mut Shift, ()> {
    match expr {
        Expr::Vector(selector) | Expr::Matrix { selector, .. } => Ok(&mut selector.shift),
        Expr::Subquery { shift, .. } => Ok(shift),
        Expr::Number(_)
        | Expr::Text(_)
        | Expr::Unary { .. }
        | Expr::Binary(_)
        | Expr::Aggregate(_)
        | Expr::Call { .. }
        | Expr::Paren(_) => Err(()),
    }
}

fn check(binary: &Binary, grouped: bool) -> Result<(), String> {
    let (left, right) = (binary.left.kind(), binary.right.kind());
    let fits = |kind| matches!(kind, Kind::Scalar | Kind::Vector);
    if !fits(left) || !fits(right) {
        return Err(
            "binary expression must contain only scalar and instant vector types".to_owned()
        );
    }
    let scalars = usize::from(left == Kind::Scalar) + usize::from(right == Kind::Scalar);
    if scalars > 0 && grouped {
        return Err("vector matching only allowed between instant vectors".to_owned());
    }
    if scalars > 0 && binary.op.sets() {
        return Err(format!(
            "set operator {:?} not allowed in binary scalar expression",
            binary.op.name()
        ));
    }
    if scalars == 2 && binary.op.compares() && !binary.returns_bool {
        return Err("comparisons between scalars must use BOOL modifier".to_owned());
    }
    Ok(())
}

fn check_args(function: &Function, args: &[Expr]) -> Result<(), String> {
    let Function { name, takes, optional, .. } = function;
    let least = takes.len().saturating_sub(optional.unwrap_or(1));
    if args.len() < least {
        return Err(format!(
            "expected at least {least} argument(s) in call to {name:?}, got {}",
            args.len()
        ));
    }
    if optional.is_some() && args.len() > takes.len() {
        return Err(format!(
            "expected at most {} argument(s) in call to {name:?}, got {}",
            takes.len(),
            args.len()
        ));
    }
    for (position, arg) in args.iter().enumerate() {
        // The last type is the one of all that follow.
        let Some(wanted) = takes.get(position).or(takes.last()) else { continue };
        if arg.kind() != *wanted {
            return Err(format!(
                "expected type {wanted} in call to function {name:?}, got {}",
                arg.kind()
            ));
        }
    }
    Ok(())
}
