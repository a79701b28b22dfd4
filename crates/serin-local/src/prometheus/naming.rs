//! Which results carry no metric name: the engine leaves it on what functions give, Prometheus takes it off.

use tsink::promql::ast::Expr;

/// Whether every series of the result comes out of something that takes the name off.
pub(super) fn nameless(query: &str) -> bool {
    tsink::promql::parse(query).is_ok_and(|expr| drops(&expr))
}

fn drops(expr: &Expr) -> bool {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => true,
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) | Expr::Subquery(_) => false,
        Expr::Unary(unary) => drops(&unary.expr),
        Expr::Binary(binary) => binary.return_bool || (drops(&binary.lhs) && drops(&binary.rhs)),
        Expr::Aggregation(aggregation) => drops(&aggregation.expr),
        Expr::Paren(inner) => drops(inner),
        Expr::Call(call) => match call.func.as_str() {
            "label_replace" | "label_join" | "sort" | "sort_desc" | "last_over_time" => {
                let renames = call
                    .args
                    .iter()
                    .any(|a| matches!(a, Expr::StringLiteral(s) if s == "__name__"));
                !renames && call.args.first().is_some_and(drops)
            }
            _ => true,
        },
    }
}
