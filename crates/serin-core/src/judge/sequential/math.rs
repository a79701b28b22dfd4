//! The few special functions the guard needs, in the log domain.

/// `ln(p / (1 - p))`.
pub fn logit(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}

/// `ln(x)` of a positive, normal number, without a branch, so that a compiler can do several at a time.
///
/// `x = 2^k m` with `m` between the roots of 1/2 and 2, and `ln m = 2 atanh(s)` with `s = (m-1)/(m+1)`, whose series ends
/// after ten terms because `s^2 < 0.03`.
pub fn ln_normal(x: f64) -> f64 {
    const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    const FRACTION: u64 = 0x000f_ffff_ffff_ffff;
    // A whole number in the last digits of 2^52.
    const WHOLE: u64 = 0x4330_0000_0000_0000;
    let bits = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let k = f64::from_bits(WHOLE | (bits >> 52)) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((bits & FRACTION) + ROOT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let (z2, z4) = (z * z, z * z * z * z);
    let low = (1.0 + z * (1.0 / 3.0)) + z2 * (1.0 / 5.0 + z * (1.0 / 7.0));
    let high = (1.0 / 9.0 + z * (1.0 / 11.0)) + z2 * (1.0 / 13.0 + z * (1.0 / 15.0));
    let top = (1.0 / 17.0 + z * (1.0 / 19.0)) + z2 * (1.0 / 21.0);
    k * std::f64::consts::LN_2 + 2.0 * s * (low + z4 * (high + z4 * top))
}

/// The inverse of [`logit`].
pub fn expit(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// `ln(e^a + e^b)` without overflow.
pub fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `ln` of the sum of `e^v` over `values`.
pub fn log_sum(values: &[f64]) -> f64 {
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high == f64::NEG_INFINITY {
        return high;
    }
    high + values.iter().map(|v| (v - high).exp()).sum::<f64>().ln()
}

/// `x ln(p)`, with `0 ln 0 = 0`.
pub fn x_ln(x: f64, p: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * p.ln() }
}

/// `ln Gamma(z)` for `z > 0`: Stirling's series, after lifting small arguments above 12.
pub fn ln_gamma(z: f64) -> f64 {
    let (mut z, mut lift) = (z, 1.0_f64);
    while z < 12.0 {
        lift *= z;
        z += 1.0;
    }
    let i = 1.0 / z;
    let i2 = i * i;
    // Bernoulli numbers B_2k / (2k (2k - 1)).
    let series = i
        * (1.0 / 12.0
            - i2 * (1.0 / 360.0
                - i2 * (1.0 / 1260.0
                    - i2 * (1.0 / 1680.0 - i2 * (1.0 / 1188.0 - i2 * (691.0 / 360_360.0))))));
    let half_ln_tau = 0.5 * std::f64::consts::TAU.ln();
    (z - 0.5) * z.ln() - z + half_ln_tau + series - lift.ln()
}

/// `ln B(a, b)`.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_of_many_agree_with_those_of_one() {
        let mut x = 1e-300_f64;
        while x < 1e300 {
            for x in [x, 1.0 + 1e-16 * x.min(1.0), 1.0 / x.max(1e-290), 1.0 - 1e-3 * x.min(1.0)] {
                let off = (ln_normal(x) - x.ln()).abs();
                assert!(off <= 4e-16 * x.ln().abs().max(1e-3), "{x}: {off}");
            }
            x *= 1.37;
        }
        assert_eq!(ln_normal(1.0), 0.0);
    }

    #[test]
    fn special_functions_agree_with_known_values() {
        let cases = [
            (ln_gamma(1.0), 0.0),
            (ln_gamma(0.5), 0.572_364_942_924_700_1),
            (ln_gamma(10.0), 12.801_827_480_081_469),
            (ln_gamma(171.0), 706.573_062_245_787_4),
            (ln_beta(1.0, 100.0), -(100.0_f64.ln())),
            (log_add(0.0, 0.0), 2.0_f64.ln()),
            (log_add(f64::NEG_INFINITY, 3.0), 3.0),
            (log_sum(&[1000.0, 1000.0]), 1000.0 + 2.0_f64.ln()),
            (expit(logit(0.01)), 0.01),
        ];
        for (i, (got, want)) in cases.into_iter().enumerate() {
            assert!((got - want).abs() < 1e-11 * (1.0 + want.abs()), "case {i}: {got} {want}");
        }
        assert_eq!(log_sum(&[f64::NEG_INFINITY; 3]), f64::NEG_INFINITY);
    }
}
