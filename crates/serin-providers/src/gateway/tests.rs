//! Pages as Traefik writes them, whole, torn and hostile.

use proptest::prelude::*;

use super::*;
use crate::testing::canary;

const PAGE: &str = r#"# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
process_start_time_seconds 1.7e+09
traefik_entrypoint_requests_total{code="500",entrypoint="web",method="GET",protocol="http"} 99
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd",le="0.1"} 7
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd",le="0.5"} 8
traefik_service_request_duration_seconds_bucket{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd",le="+Inf"} 9
traefik_service_request_duration_seconds_sum{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 1.5
traefik_service_request_duration_seconds_count{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 9
traefik_service_request_duration_seconds_bucket{code="503",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd",le="0.5"} 2
traefik_service_request_duration_seconds_count{code="503",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 2
traefik_service_requests_total{code="200",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 9
traefik_service_requests_total{code="503",method="GET",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 2
traefik_service_requests_total{code="404",method="POST",protocol="http",service="develop-backend-canary-80@kubernetescrd"} 1
traefik_service_requests_total{code="200",method="GET",protocol="http",service="develop_backend_wrr_0_develop_backend-primary_80@kubernetescrd"} 1e3
traefik_service_requests_total{code="500",method="GET",protocol="http",service="develop_backend_wrr_1_develop_backend-primary_http@kubernetescrd"} 4
traefik_service_requests_total{code="500",method="GET",protocol="http",service="develop-other-80@kubernetescrd"} 5
traefik_service_requests_total{code="500",method="GET",protocol="http",service="develop-backend-canary-80@file"} 5
"#;

fn wanted(bounds: &[f64]) -> (Wanted, Pair) {
    let canary = canary("");
    let mut wanted = Wanted::default();
    wanted.add(&canary, bounds);
    (wanted, Pair::of(&canary))
}

fn scrape(wanted: &Wanted, pieces: &[&[u8]]) -> Page {
    let mut scrape = Scrape::new(wanted);
    for piece in pieces {
        scrape.push(piece);
    }
    scrape.finish()
}

#[test]
fn both_forms_of_names_are_found_and_everything_else_is_left() {
    let (wanted, pair) = wanted(&[500.0]);
    let page = scrape(&wanted, &[PAGE.as_bytes()]);
    let sides = page.sides(&pair, &[500.0], 0.0);
    let of_canary = Counters { requests: 12, errors: 2, timed: 11, within: vec![10] };
    let primary = Counters { requests: 1004, errors: 4, timed: 0, within: vec![0] };
    assert_eq!(sides, Sides { canary: of_canary, primary, born: Born::After });
    assert_eq!(page.sides(&pair, &[], 1.8e9).born, Born::Before);
    assert_eq!(page.bounds, [100.0, 500.0]);
    assert!(page.has_bound(500.0) && !page.has_bound(300.0) && page.services);
}

#[test]
fn absent_series_are_zeros_and_bounds_unknown_without_a_histogram() {
    let (wanted, pair) = wanted(&[500.0]);
    let page = scrape(&wanted, &[b"up 1\n"]);
    let zeros = Counters { within: vec![0], ..Counters::default() };
    let sides = page.sides(&pair, &[500.0], 0.0);
    assert_eq!((sides.canary, sides.primary), (zeros.clone(), zeros));
    assert!(page.has_bound(300.0) && !page.services && !page.knows(&pair.canary));
    let names: Vec<_> = page.sides(&pair, &[500.0], 0.0).readings("g").map(|r| r.side).into();
    assert_eq!(names, [Side::Canary, Side::Primary]);
}

#[test]
fn odd_lines_hurt_nobody() {
    let (wanted, pair) = wanted(&[]);
    let long = format!("traefik_service_requests_total{{service=\"{}\"}} 1\n", "x".repeat(10_000));
    let page = format!(
        "{long}traefik_service_requests_total{{service=\"a}}\\\"b\",code=\"200\"}} 1\n\
         traefik_service_requests_total{{service=\"develop-backend-canary-http@kubernetescrd\",code=\"200\"}} NaN\n\
         traefik_service_requests_total{{service=\"develop-backend-canary-http@kubernetescrd\",code=\"200\"}} -3\n\
         traefik_service_requests_total{{service=\"unclosed\n\
         traefik_service_requests_total\n\
         traefik_service_requests_total{{code=\"502\",service=\"develop-backend-canary-http@kubernetescrd\"}} 3 1700000000000"
    );
    let sides = scrape(&wanted, &[page.as_bytes()]).sides(&pair, &[], 0.0);
    assert_eq!((sides.canary.requests, sides.canary.errors), (3, 3));
}

proptest! {
    #[test]
    fn pieces_may_be_cut_anywhere(cuts in prop::collection::vec(0..PAGE.len(), 0..12)) {
        let (wanted, _) = wanted(&[500.0, 100.0]);
        let whole = scrape(&wanted, &[PAGE.as_bytes()]);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&PAGE.as_bytes()[from..cut]);
            from = cut;
        }
        pieces.push(&PAGE.as_bytes()[from..]);
        prop_assert_eq!(scrape(&wanted, &pieces), whole);
    }

    #[test]
    fn nothing_panics(page in prop::collection::vec(any::<u8>(), 0..400), text in "(traefik_service_requests_total|process_start_time_seconds)[{ ][a-z=\"\\\\{}, 0-9\u{e9}]{0,60}") {
        let (wanted, _) = wanted(&[500.0]);
        scrape(&wanted, &[&page, b"\n", text.as_bytes()]);
    }
}
