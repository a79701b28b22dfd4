//! The reference's figures, from the study the guard was designed with (its tables 4.1, 4.2, E1, E4; 400 runs per cell).

/// Traffic per second, the fault's error rate, the bound for the objective alone, the best bound, and mean bad requests of
/// Flagger 60s/5, Flagger 10s/1, and the guard at 5 s, at 1 s and paced at 1 s.
pub(crate) struct Cell {
    pub(crate) rps: f64,
    pub(crate) fault: f64,
    pub(crate) wald: f64,
    pub(crate) best: f64,
    pub(crate) bad: [f64; 5],
}

const fn cell(rps: f64, fault: f64, wald: f64, best: f64, bad: [f64; 5]) -> Cell {
    Cell { rps, fault, wald, best, bad }
}

/// Faults from the first request, baseline 0.1 %.
pub(crate) const FAULTS: [Cell; 16] = [
    cell(1.0, 1.0, 1.0, 1.0, [18.4, 1.1, 3.0, 3.1, 3.6]),
    cell(1.0, 0.2, 2.1, 2.0, [12.9, 0.8, 5.5, 6.1, 5.7]),
    cell(1.0, 0.05, 5.6, 3.8, [7.9, 0.3, 13.9, 15.9, 14.3]),
    cell(1.0, 0.02, 23.5, 9.2, [2.8, 0.1, 15.0, 15.2, 14.2]),
    cell(10.0, 1.0, 1.0, 1.0, [183.0, 10.5, 6.0, 3.3, 4.7]),
    cell(10.0, 0.2, 2.1, 2.0, [37.2, 3.5, 4.6, 4.4, 5.2]),
    cell(10.0, 0.05, 5.6, 3.8, [17.1, 2.4, 7.7, 7.8, 11.5]),
    cell(10.0, 0.02, 23.5, 9.2, [16.8, 1.7, 20.6, 21.6, 24.6]),
    cell(100.0, 1.0, 1.0, 1.0, [1809.0, 105.0, 54.6, 14.7, 14.7]),
    cell(100.0, 0.2, 2.1, 2.0, [362.0, 21.1, 11.6, 5.8, 5.8]),
    cell(100.0, 0.05, 5.6, 3.8, [91.4, 6.0, 8.8, 7.6, 8.0]),
    cell(100.0, 0.02, 23.5, 9.2, [51.8, 4.9, 18.1, 16.8, 19.3]),
    cell(1000.0, 1.0, 1.0, 1.0, [18064.0, 1049.0, 549.0, 150.0, 15.1]),
    cell(1000.0, 0.2, 2.1, 2.0, [3614.0, 209.0, 110.0, 30.2, 5.9]),
    cell(1000.0, 0.05, 5.6, 3.8, [903.0, 52.3, 27.6, 12.5, 7.9]),
    cell(1000.0, 0.02, 23.5, 9.2, [360.0, 22.1, 24.0, 19.4, 18.1]),
];

/// The same rate on both sides.
pub(crate) const NULLS: [(f64, f64); 8] = [
    (1.0, 0.001),
    (1.0, 0.008),
    (10.0, 0.001),
    (10.0, 0.008),
    (100.0, 0.001),
    (100.0, 0.008),
    (1000.0, 0.001),
    (1000.0, 0.008),
];

/// A canary that turns bad at 200 s, 100 rps: the fault and the mean bad requests of Flagger 60s/5 and of the guard at 1 s.
pub(crate) const LATE: [(f64, [f64; 2]); 4] =
    [(1.0, [10218.0, 123.0]), (0.2, [2046.0, 31.7]), (0.05, [514.0, 23.1]), (0.02, [215.0, 36.5])];
