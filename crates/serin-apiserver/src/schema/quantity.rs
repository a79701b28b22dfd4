//! Quantities such as `100m` and `1536Mi`: their value, and their canonical form.

use serde_json::{Value, json};

const PATTERN: &str = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";

/// Decimal units with their power of ten, the greatest first.
const DECIMAL: &[(&str, i32)] = &[
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];
/// Binary units with their power of 1024, the greatest first.
const BINARY: &[(&str, u32)] = &[("Ei", 6), ("Pi", 5), ("Ti", 4), ("Gi", 3), ("Mi", 2), ("Ki", 1)];

/// A quantity in billionths, and whether it is written in binary units.
struct Quantity {
    nanos: i128,
    binary: bool,
}

const NANOS: i128 = 1_000_000_000;

/// Converts a value to the quantity that Kubernetes stores; an error if it is not one.
pub(crate) fn canonicalize(value: &mut Value) -> Result<(), String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(quantity) = parse(&text) else {
        return Err(format!("quantities must match the regular expression '{PATTERN}'"));
    };
    *value = json!(write(&quantity));
    Ok(())
}

/// The value of a quantity in billionths.
pub(crate) fn nanos(value: &Value) -> Option<i128> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parse(&text).map(|quantity| quantity.nanos)
}

fn parse(text: &str) -> Option<Quantity> {
    let start = usize::from(text.starts_with(['+', '-']));
    let at = text[start..].find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(at.map_or(text.len(), |at| at + start));
    let number = fixed(number)?;
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == unit) {
        let nanos = number.checked_mul(1024_i128.pow(*power))?;
        return Some(Quantity { nanos, binary: true });
    }
    let power = match DECIMAL.iter().find(|(name, _)| *name == unit) {
        Some((_, power)) => *power,
        None => {
            unit.strip_prefix(['e', 'E'])?.parse().ok().filter(|power| (-9..=18).contains(power))?
        }
    };
    let factor = 10_i128.pow(power.unsigned_abs());
    let nanos = if power < 0 { number / factor } else { number.checked_mul(factor)? };
    Some(Quantity { nanos, binary: false })
}

/// A decimal number in billionths.
fn fixed(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(sign * (whole * NANOS + fraction))
}

fn write(quantity: &Quantity) -> String {
    let Quantity { nanos, binary } = *quantity;
    if nanos == 0 {
        return "0".to_owned();
    }
    if binary && nanos % NANOS == 0 {
        let whole = nanos / NANOS;
        let unit = BINARY.iter().find(|(_, power)| whole % 1024_i128.pow(*power) == 0);
        return match unit {
            Some((unit, power)) => format!("{}{unit}", whole / 1024_i128.pow(*power)),
            None => whole.to_string(),
        };
    }
    for (unit, power) in DECIMAL {
        let size = match power {
            0.. => NANOS * 10_i128.pow(power.unsigned_abs()),
            _ => NANOS / 10_i128.pow(power.unsigned_abs()),
        };
        if nanos % size == 0 {
            return format!("{}{unit}", nanos / size);
        }
    }
    format!("{nanos}n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonicalize;

    #[test]
    fn quantities_are_written_as_kubernetes_writes_them() {
        for (given, stored) in [
            (json!("1000m"), "1"),
            (json!(0.1), "100m"),
            (json!("0.1"), "100m"),
            (json!("1024Ki"), "1Mi"),
            (json!("1.5Gi"), "1536Mi"),
            (json!(100), "100"),
            (json!("10k"), "10k"),
            (json!("128974848"), "128974848"),
            (json!("-1"), "-1"),
            (json!("0"), "0"),
            (json!("100000"), "100k"),
        ] {
            let mut value = given.clone();
            canonicalize(&mut value).unwrap();
            assert_eq!(value, stored, "{given}");
        }
        for given in [json!("much"), json!("1.2.3"), json!(""), json!("1Xi"), json!("--1")] {
            assert!(canonicalize(&mut given.clone()).is_err(), "{given}");
        }
    }
}
