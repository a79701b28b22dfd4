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
    let of_canary = Counters { requests: 12, errors: 2, timed: 11, within: vec![Some(10)] };
    let primary = Counters { requests: 1004, errors: 4, timed: 0, within: vec![Some(0)] };
    assert_eq!(
        sides,
        Sides { canary: of_canary, primary, born: Born::After, started: Some(1_700_000_000) }
    );
    assert_eq!(page.sides(&pair, &[], 1.8e9).born, Born::Before);
    assert_eq!(page.bounds, [100.0, 500.0]);
    assert!(page.has_bound(500.0) && !page.has_bound(300.0) && page.services);
}

#[test]
fn calls_of_grpc_are_known_by_their_codes_and_streams_by_their_protocol() {
    let (wanted, pair) = wanted(&[]);
    let line = |code: &str, protocol: &str, count: u64| {
        let service = "develop-backend-canary-80@kubernetescrd";
        format!(
            "traefik_service_requests_total{{code=\"{code}\",method=\"POST\",protocol=\"{protocol}\",service=\"{service}\"}} {count}\n"
        )
    };
    for (code, failed) in [
        ("200", 0),
        ("500", 1),
        ("503", 1),
        ("0", 0),
        ("2", 0),
        ("5", 0),
        ("3", 0),
        ("4", 1),
        ("12", 1),
        ("13", 1),
        ("14", 1),
        ("15", 1),
        ("16", 0),
    ] {
        let page = scrape(&wanted, &[line(code, "http", 1).as_bytes()]);
        assert_eq!(page.sides(&pair, &[], 0.0).canary.errors, failed, "{code}");
        assert_eq!(page.traits(&pair.canary).ambiguous, code == "2", "{code}");
        assert!(!page.traits(&pair.canary).streams);
    }
    for protocol in ["websocket", "sse"] {
        let page = scrape(&wanted, &[line("0", protocol, 1).as_bytes()]);
        assert!(page.traits(&pair.canary).streams && !page.traits(&pair.primary).streams);
    }
    let page = scrape(&wanted, &[PAGE.as_bytes()]);
    assert_eq!(page.traits(&pair.canary).secs, Some(1.5));
    assert_eq!(page.traits(&pair.primary), Traits::default());
}

#[test]
fn absent_series_are_zeros_and_bounds_unknown_without_a_histogram() {
    let (wanted, pair) = wanted(&[500.0]);
    let page = scrape(&wanted, &[b"up 1\n"]);
    let zeros = Counters { within: vec![Some(0)], ..Counters::default() };
    let sides = page.sides(&pair, &[500.0], 0.0);
    assert_eq!((sides.canary, sides.primary), (zeros.clone(), zeros));
    assert!(page.has_bound(300.0) && !page.services && !page.knows(&pair.canary));
    let names: Vec<_> = page.sides(&pair, &[500.0], 0.0).readings("g", true).map(|r| r.side).into();
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

/// As Envoy 1.40 wrote it, less most of its buckets.
const ENVOY: &str = include_str!("tests/envoy.txt");
const NGINX: &str = include_str!("tests/nginx.txt");

#[test]
fn clusters_of_envoy_are_services_and_its_bounds_milliseconds() {
    let (mut wanted, pair) = wanted(&[500.0, 1000.0]);
    let page = scrape(&wanted, &[ENVOY.as_bytes()]);
    let sides = page.sides(&pair, &[500.0], 0.0);
    // Two of the nine came in over Istio's name for the same Service.
    let of_canary = Counters { requests: 9, errors: 0, timed: 9, within: vec![Some(8)] };
    let primary = Counters { requests: 43, errors: 3, timed: 43, within: vec![Some(38)] };
    assert_eq!((sides.canary, sides.primary), (of_canary, primary));
    assert_eq!(page.bounds, [0.5, 5.0, 10.0, 100.0, 500.0, 1000.0, 10_000.0]);
    assert_eq!((page.uptime, page.started), (Some(15.0), None));
    // Nobody answered behind this one: Envoy did, and counts it.
    let dead = canary("service: {name: dead}");
    wanted.add(&dead, &[]);
    let page = scrape(&wanted, &[ENVOY.as_bytes()]);
    let sides = page.sides(&Pair::of(&dead), &[], 0.0);
    assert_eq!((sides.canary.requests, sides.canary.errors, sides.canary.timed), (1, 1, 0));
}

#[test]
fn control_planes_of_envoy_name_clusters_in_their_own_ways() {
    let (wanted, pair) = wanted(&[]);
    let ours = [
        "develop_backend-canary_80",
        "develop/backend-canary/80/da39a3ee5e",
        "develop-backend-canary-80_develop",
        "kube-svc:develop-backend-canary-80_gloo-system",
        "kube_develop_backend-canary_80",
        "develop/cilium-gateway-web/develop:backend-canary:80",
        "outbound|80||backend-canary.develop.svc.cluster.local",
        "outbound|80|v2|backend-canary.develop.svc.cluster.local",
    ];
    let others = [
        "develop_backend_80",
        "other_backend-canary_80",
        "httproute/develop/backend/rule/0",
        "inbound|80||backend-canary.develop.svc.cluster.local",
        "backend-canary",
        "",
        "///",
        "_",
        "outbound|",
    ];
    for (cluster, expected) in ours.map(|c| (c, 7)).into_iter().chain(others.map(|c| (c, 0))) {
        for (name, class) in [
            ("envoy_cluster_name", "envoy_response_code_class"),
            ("cluster_name", "response_code_class"),
        ] {
            let metric = "envoy_cluster_upstream_rq_xx";
            let page = format!("{metric}{{{class}=\"5\",{name}=\"{cluster}\"}} 7\n");
            let sides = scrape(&wanted, &[page.as_bytes()]).sides(&pair, &[], 0.0);
            assert_eq!(
                (sides.canary.requests, sides.canary.errors),
                (expected, expected),
                "{cluster}"
            );
        }
    }
}

#[test]
fn nginx_tells_the_canary_by_the_upstream_it_took_instead() {
    let (wanted, pair) = wanted(&[500.0]);
    let page = scrape(&wanted, &[NGINX.as_bytes()]);
    let sides = page.sides(&pair, &[500.0], 0.0);
    let of_canary = Counters { requests: 9, errors: 2, timed: 7, within: vec![Some(6)] };
    let primary = Counters { requests: 193, errors: 0, timed: 190, within: vec![Some(189)] };
    assert_eq!(
        sides,
        Sides { canary: of_canary, primary, born: Born::After, started: Some(1_700_000_000) }
    );
    assert!(page.services && !page.routers && page.bounds == [250.0, 500.0]);
}

#[test]
fn routers_tell_of_requests_that_should_have_been_counted() {
    let (wanted, pair) = wanted(&[]);
    let routers = "traefik_router_requests_total{code=\"503\",router=\"develop-web-1@kubernetescrd\",service=\"develop-backend@kubernetescrd\"} 5\n\
        traefik_router_requests_total{code=\"200\",router=\"develop-web-2@kubernetescrd\",service=\"develop-backend@kubernetescrd\"} 2\n\
        traefik_router_requests_total{code=\"200\",router=\"develop-web-3@kubernetescrd\",service=\"develop-other@kubernetescrd\"} 9\n";
    let page = scrape(&wanted, &[routers.as_bytes()]);
    assert_eq!((page.routed(&pair.primary), page.services), (Some(7), false));
    assert_eq!(scrape(&wanted, &[PAGE.as_bytes()]).routed(&pair.primary), None);
}

#[test]
fn a_page_that_does_not_end_with_its_line_is_not_whole() {
    let (wanted, _) = wanted(&[]);
    assert!(scrape(&wanted, &[PAGE.as_bytes()]).whole);
    let long = format!("{PAGE}{}", "x".repeat(10_000));
    for cut in ["", &PAGE[..PAGE.len() - 1], &PAGE[..300], &long] {
        let page = scrape(&wanted, &[cut.as_bytes()]);
        assert!(!page.whole && !page.foreign, "{cut}");
    }
    for known in [PAGE, ENVOY, NGINX, "\n# EOF\n", "up 1\n"] {
        let page = scrape(&wanted, &[known.as_bytes()]);
        assert!(page.whole && !page.foreign, "{known}");
    }
    for foreign in [
        "<html>\n",
        "# TYPE up gauge\n{\"status\": \"error\"}\n",
        "\nupstream connect error\n",
        "\u{1f}\u{8b}\u{8}\u{0}\n",
    ] {
        assert!(scrape(&wanted, &[foreign.as_bytes()]).foreign, "{foreign}");
    }
}

/// The safe names that Traefik 3.7 has for both sides of a mirroring service.
#[test]
fn what_is_copied_is_counted_for_the_canary() {
    let (wanted, pair) = wanted(&[]);
    for (label, of_canary, of_primary) in [
        ("develop_backend-mirrored_mirroring_develop_backend-primary_80", 0, 7),
        ("develop_backend-mirrored_mirror_0_develop_backend-canary_80", 7, 0),
        ("develop_backend-mirrored_mirror_x_develop_backend-canary_80", 0, 0),
        ("develop_backend-mirrored_mirrored_develop_backend-canary_80", 0, 0),
    ] {
        let page = format!(
            "traefik_service_requests_total{{code=\"200\",service=\"{label}@kubernetescrd\"}} 7\n"
        );
        let sides = scrape(&wanted, &[page.as_bytes()]).sides(&pair, &[], 0.0);
        assert_eq!(
            (sides.canary.requests, sides.primary.requests),
            (of_canary, of_primary),
            "{label}"
        );
    }
}

/// As Traefik 3.7 wrote them with `safeNaming` and without, for a route to a plain Service.
#[test]
fn routes_have_names_of_both_forms() {
    let (wanted, pair) = wanted(&[]);
    for (service, routed, plain) in [
        ("develop-backend", Some(7), false),
        ("develop_backend", Some(7), false),
        ("develop_other", Some(0), false),
        ("develop-plain-41fb224448fd39173614", Some(0), true),
        ("develop_plain_0_lb", Some(0), true),
        ("other_plain_0_lb", Some(0), false),
        ("develop_plain__lb", Some(0), false),
        ("develop_lb", Some(0), false),
    ] {
        let page = format!(
            "traefik_router_requests_total{{code=\"200\",service=\"{service}@kubernetescrd\"}} 7\n\
             traefik_service_requests_total{{code=\"200\",service=\"{service}@kubernetescrd\"}} 7\n"
        );
        let page = scrape(&wanted, &[page.as_bytes()]);
        let said = (page.routed(&pair.primary), page.has_plain_route(&pair.primary));
        assert_eq!(said, (routed, plain), "{service}");
    }
}

#[test]
fn a_page_is_asked_for_without_what_nobody_reads() {
    let narrow = |address: &str| narrowed(address).unwrap_or_default();
    let go = narrow("http://10.0.0.7:9100/metrics");
    for name in [
        "traefik_service_requests_total",
        "traefik_service_request_duration_seconds",
        "traefik_service_request_duration_seconds_bucket",
        "nginx_ingress_controller_requests",
        "process_start_time_seconds",
    ] {
        let (start, end) = (format!("{name}&"), format!("={name}"));
        assert!(go.contains(&format!("name%5B%5D={start}")) || go.ends_with(&end), "{name}: {go}");
    }
    let envoy = narrow("http://10.0.0.7:9901/stats/prometheus");
    assert!(envoy.ends_with("?usedonly&filter=upstream_rq_.xx%7Cupstream_rq_time%7Cserver.uptime"));
    // Whoever asks for something is left to it.
    assert_eq!(narrowed("http://10.0.0.7:9100/metrics?part=1"), None);
}
