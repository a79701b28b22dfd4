//! The few special functions the guard needs, in the log domain.

/// `ln(p / (1 - p))`.
pub fn logit(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}

/// Two numbers that are worked on in one go: what is done to both alike, a compiler does at once.
pub type Two = [f64; 2];

/// The same for both.
pub fn two(of: impl FnMut(usize) -> f64) -> Two {
    std::array::from_fn(of)
}

/// `ln(a / b)` of positive, normal numbers, without a branch and with one division.
///
/// `a / b = 2^k m`, where the difference of the bits tells the nearest `k` within a tenth, so that `m` lies between 2/3 and
/// 3/2. `ln m = 2 atanh(s)` with `s = (a - 2^k b) / (a + 2^k b)`, whose series ends after ten terms because `s^2 < 0.042`.
pub fn ln_ratios(a: Two, b: Two) -> Two {
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    const HALF_STEP: u64 = 1 << 51;
    const EXPONENT: u64 = 0xfff0_0000_0000_0000;
    // A whole number in the last digits of 2^52.
    const WHOLE: u64 = 0x4330_0000_0000_0000;
    let bits: [u64; 2] = std::array::from_fn(|i| {
        a[i].to_bits().wrapping_sub(b[i].to_bits()).wrapping_add(ONE + HALF_STEP)
    });
    let k = two(|i| f64::from_bits(WHOLE | (bits[i] >> 52)) - (4_503_599_627_370_496.0 + 1023.0));
    let b = two(|i| {
        f64::from_bits(b[i].to_bits().wrapping_add((bits[i] & EXPONENT).wrapping_sub(ONE)))
    });
    let s = two(|i| (a[i] - b[i]) / (a[i] + b[i]));
    let series = two(|i| {
        let z = s[i] * s[i];
        let (z2, z4) = (z * z, z * z * z * z);
        let low = (1.0 + z * (1.0 / 3.0)) + z2 * (1.0 / 5.0 + z * (1.0 / 7.0));
        let high = (1.0 / 9.0 + z * (1.0 / 11.0)) + z2 * (1.0 / 13.0 + z * (1.0 / 15.0));
        let top = 1.0 / 17.0 + z * (1.0 / 19.0);
        low + z4 * (high + z4 * top)
    });
    two(|i| k[i] * std::f64::consts::LN_2 + 2.0 * s[i] * series[i])
}

/// `e^x` for `x` up to 700, without a branch: 0 below -700, where nobody can tell.
///
/// `x = k ln 2 + r` with `|r| <= ln(2)/2`, and the series of `e^r` ends after thirteen terms.
pub fn exps_up_to_700(x: Two) -> Two {
    // Adding this rounds to a whole number, in the last digits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN2_HIGH: f64 = 6.931_457_519_531_25e-1;
    const LN2_LOW: f64 = 1.428_606_820_309_417_3e-6;
    let whole = two(|i| x[i] * std::f64::consts::LOG2_E + ROUND);
    let series = two(|i| {
        let k = whole[i] - ROUND;
        let r = (x[i] - k * LN2_HIGH) - k * LN2_LOW;
        let (r2, r4) = (r * r, r * r * r * r);
        let low = (1.0 + r) + r2 * (1.0 / 2.0 + r * (1.0 / 6.0));
        let middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0));
        let high = (1.0 / 40_320.0 + r * (1.0 / 362_880.0))
            + r2 * (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0));
        low + r4 * (middle + r4 * (high + r4 * (1.0 / 479_001_600.0)))
    });
    two(|i| {
        let scale = f64::from_bits(whole[i].to_bits().wrapping_add(1023) << 52);
        if x[i] < -700.0 { 0.0 } else { series[i] * scale }
    })
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
                for by in [1.0, 0.3, 1.9] {
                    let ([got, again], want) = (ln_ratios([x * by; 2], [by; 2]), x.ln());
                    assert_eq!(got, again);
                    let off = (got - want).abs();
                    assert!(off <= 5e-16 * want.abs().max(1.0), "{x} {by}: {off}");
                }
            }
            x *= 1.37;
        }
        assert_eq!(ln_ratios([1.0, 0.7], [1.0, 0.7]), [0.0, 0.0]);
    }

    #[test]
    fn powers_of_many_agree_with_those_of_one() {
        let mut x = -699.0_f64;
        while x < 699.0 {
            let ([got, _], want) = (exps_up_to_700([x, 0.0]), x.exp());
            assert!((got / want - 1.0).abs() < 4e-16 * 2.0, "{x}: {got} {want}");
            x += 0.0371;
        }
        assert_eq!(exps_up_to_700([0.0, -701.0]), [1.0, 0.0]);
        assert_eq!(exps_up_to_700([f64::NEG_INFINITY, -1e300]), [0.0, 0.0]);
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
