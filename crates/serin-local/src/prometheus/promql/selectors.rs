//! Which series a query reads, for keeping them.

use super::{Aggregate, Binary, Expr, Selector, Shift, Test, parse};
use crate::prometheus::store::NAME;

/// As far back as Prometheus looks for an instant value.
const LOOKBACK_MS: i64 = 300_000;

/// The plain selectors in a query, `{__name__="a",b="c"}`, and how far back each is read, in milliseconds. A selector with
/// `@` reads a time of its own and is refused.
pub fn selectors(query: &str) -> Result<Vec<(String, i64)>, String> {
    let expr = parse(query).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    collect(&expr, 0, &mut found)?;
    Ok(found)
}

fn collect(expr: &Expr, back: i64, found: &mut Vec<(String, i64)>) -> Result<(), String> {
    let mut add = |selector: &Selector, range: i64| {
        let entry = (text(selector), back + range + offset(selector.shift)?);
        if !found.contains(&entry) {
            found.push(entry);
        }
        Ok(())
    };
    match expr {
        Expr::Number(_) | Expr::Text(_) => Ok(()),
        Expr::Vector(selector) => add(selector, LOOKBACK_MS),
        Expr::Matrix { selector, range } => add(selector, *range),
        Expr::Subquery { inner, range, step: _, shift } => {
            collect(inner, back + range + offset(*shift)?, found)
        }
        Expr::Unary { negative: _, inner } | Expr::Paren(inner) => collect(inner, back, found),
        Expr::Binary(binary) => {
            let Binary { op: _, returns_bool: _, matching: _, left, right } = &**binary;
            collect(left, back, found)?;
            collect(right, back, found)
        }
        Expr::Aggregate(aggregate) => {
            let Aggregate { op: _, param, inner, without: _, labels: _ } = &**aggregate;
            param.iter().try_for_each(|param| collect(param, back, found))?;
            collect(inner, back, found)
        }
        Expr::Call { function: _, args } => {
            args.iter().try_for_each(|arg| collect(arg, back, found))
        }
    }
}

fn offset(shift: Shift) -> Result<i64, String> {
    match shift {
        Shift { offset, at: None } => Ok(offset.unwrap_or(0).max(0)),
        Shift { offset: _, at: Some(_) } => Err("it uses the @ modifier".to_owned()),
    }
}

fn text(selector: &Selector) -> String {
    let matchers: Vec<String> = selector
        .matchers
        .iter()
        .map(|matcher| {
            let (sign, value) = match &matcher.test {
                Test::Equal(value) => ("=", value.as_str()),
                Test::NotEqual(value) => ("!=", value.as_str()),
                Test::Like(pattern) => ("=~", bare(pattern.as_str())),
                Test::NotLike(pattern) => ("!~", bare(pattern.as_str())),
            };
            // JSON and PromQL quote alike, as far as labels go.
            format!("{}{sign}{}", matcher.label, serde_json::Value::from(value))
        })
        .collect();
    // A name in front is what people write.
    match selector.metric() {
        Some(name) => {
            let own = format!("{NAME}={}", serde_json::Value::from(name));
            let others: Vec<String> = matchers.into_iter().filter(|m| *m != own).collect();
            format!("{name}{{{}}}", others.join(","))
        }
        None => format!("{{{}}}", matchers.join(",")),
    }
}

/// The pattern as it was written.
fn bare(anchored: &str) -> &str {
    let inner = anchored.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$"));
    inner.unwrap_or(anchored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_a_query_are_found() {
        let query =
            "100 * (sum(rate(a{x=~\"b\\\\.\"}[30s])) or vector(0)) / sum(c{d=\"e\"} offset 1m)";
        let found = selectors(query).unwrap();
        let expected =
            [("a{x=~\"b\\\\.\"}".to_owned(), 30_000), ("c{d=\"e\"}".to_owned(), 360_000)];
        assert_eq!(found, expected);
        for (selector, _) in found {
            assert!(parse(&selector).is_ok(), "{selector}");
        }
        assert_eq!(selectors("max_over_time(a[5m:1m])").unwrap(), [("a{}".to_owned(), 600_000)]);
        assert!(selectors("sum(").is_err() && selectors("a @ 5").is_err());
    }
}
