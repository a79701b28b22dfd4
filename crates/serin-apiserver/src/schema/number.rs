//! Numbers of custom resources as a server stores them: a whole number has no fraction.

use serde_json::{Number, Value};

/// The first whole number that does not fit into 64 bits; greater ones stay floats.
const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;

/// Converts `2.0` to `2`, in all of `value`.
pub(crate) fn drop_zero_fractions(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = whole.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(drop_zero_fractions),
        Value::Object(map) => map.values_mut().for_each(drop_zero_fractions),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn whole(number: &Number) -> Option<i64> {
    let value = number.as_f64().filter(|_| number.is_f64())?;
    (value.fract() == 0.0 && (-WHOLE_MAX..WHOLE_MAX).contains(&value)).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_number_has_no_fraction() {
        let mut object =
            json!({"a": 2.0, "b": [0.0, -0.0, 0.5, {"c": -3.0}], "d": 1e21, "e": 7, "f": "2.0"});
        drop_zero_fractions(&mut object);
        let kept = json!({"a": 2, "b": [0, 0, 0.5, {"c": -3}], "d": 1e21, "e": 7, "f": "2.0"});
        assert_eq!(object, kept);
        assert_eq!(object.to_string(), kept.to_string());
    }
}
