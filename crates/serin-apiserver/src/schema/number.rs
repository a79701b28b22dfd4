//! Numbers of custom resources as a server keeps them: a whole one has no fraction, however it was sent.

use serde_json::{Number, Value};

/// Where whole numbers end that fit into 64 bits; what is greater stays a fraction.
const WHOLE_MAX: f64 = 9_223_372_036_854_775_808.0;

/// What is sent as `2.0` is answered as `2` from then on.
pub(crate) fn settle(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *number = whole.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(settle),
        Value::Object(map) => map.values_mut().for_each(settle),
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
        settle(&mut object);
        let kept = json!({"a": 2, "b": [0, 0, 0.5, {"c": -3}], "d": 1e21, "e": 7, "f": "2.0"});
        assert_eq!(object, kept);
        assert_eq!(object.to_string(), kept.to_string());
    }
}
