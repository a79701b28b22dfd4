//! What rules match and what they refuse.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn matches(rule: &str, request: &str) -> bool {
    let mut words = request.split_whitespace();
    let method = words.next().unwrap();
    let uri: http::Uri = words.next().unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let facts = Facts {
        method,
        host: &routing_host(uri.authority().unwrap().as_str()),
        path: &routing_path(uri.path()),
        query: uri.query().unwrap_or(""),
        headers: &headers,
        client: "127.0.0.1".parse().unwrap(),
    };
    Rule::parse(rule).unwrap().matches(&facts)
}

#[test]
fn rules_match_what_traefik_matches() {
    for (rule, request, expected) in [
        ("Host(`a.local`)", "GET http://A.local:80/", true),
        ("Host(`A.Local`)", "GET http://a.local./", true),
        ("Host(`a.local`)", "GET http://b.local/", false),
        ("HOST(\"a.local\")", "GET http://a.local/", true),
        ("HostRegexp(`^[a-z]+\\.local$`)", "GET http://abc.local/", true),
        ("HostRegexp(`^[a-z]+\\.local$`)", "GET http://a1.local/", false),
        ("Path(`/x`)", "GET http://a/x", true),
        ("Path(`/x`)", "GET http://a/x/", false),
        ("PathPrefix(`/x`)", "GET http://a/xyz", true),
        ("PathPrefix(`/x`)", "GET http://a/%78yz", true),
        ("PathPrefix(`/x`)", "GET http://a/x/../y", false),
        ("PathRegexp(`\\.(png|jpg)$`)", "GET http://a/b.png", true),
        ("Header(`X-A`, `1`)", "GET http://a/ x-a=0 x-a=1", true),
        ("Header(`X-A`, `1`)", "GET http://a/ x-a=11", false),
        (
            "HeaderRegexp(`Cookie`, `^(.*?;)?(canary=always)(;.*)?$`)",
            "GET http://a/ cookie=a=1;canary=always",
            true,
        ),
        ("Method(`post`)", "POST http://a/", true),
        ("Query(`k`)", "GET http://a/?k", true),
        ("Query(`k`)", "GET http://a/?k=1", false),
        ("Query(`k`, `a b`)", "GET http://a/?j=1&k=a+b", true),
        ("QueryRegexp(`k`, `^[0-9]+$`)", "GET http://a/?k=12", true),
        ("ClientIP(`127.0.0.0/8`)", "GET http://a/", true),
        ("ClientIP(`10.0.0.0/8`)", "GET http://a/", false),
        ("!Path(`/x`) && Host(`a`)", "GET http://a/y", true),
        ("!(Path(`/x`) || Path(`/y`))", "GET http://a/y", false),
        ("Path(`/x`) || Path(`/y`) && Host(`b`)", "GET http://a/x", true),
        ("(Path(`/x`) || Path(`/y`)) && Host(`b`)", "GET http://a/x", false),
    ] {
        assert_eq!(matches(rule, request), expected, "{rule} on {request}");
    }
}

#[test]
fn what_is_not_understood_is_said() {
    for (rule, message) in [
        ("", "the rule is empty"),
        ("Host(`a`) &&", "expected a matcher at byte 12"),
        ("Host(`a`) Path(`/`)", "expected && or || at byte 10"),
        ("(Host(`a`)", "expected ) at byte 10"),
        ("Host(`a`, `b`)", "matcher Host takes 1 arguments, not 2"),
        ("Headers(`a`, `b`)", "matcher Headers is not supported by the embedded gateway"),
        ("Path(`x`)", "matcher Path: \"x\" is not a valid path (it must start with /)"),
        ("PathRegexp(`(`)", "matcher PathRegexp: \"(\" is not a valid regular expression"),
        ("Host(a)", "expected a string in backticks or quotes at byte 5"),
        ("Host(`a", "expected a closing ` at byte 6"),
    ] {
        assert_eq!(Rule::parse(rule).unwrap_err().to_string(), message, "{rule}");
    }
    let deep = format!("{}Host(`a`)", "!".repeat(5000));
    assert_eq!(Rule::parse(&deep).unwrap_err(), RuleError::TooDeep);
}

#[test]
fn paths_are_cleaned() {
    for (path, expected) in [
        ("/", "/"),
        ("//a", "/a"),
        ("/x/../y", "/y"),
        ("/x/./b/", "/x/b/"),
        ("/..", "/"),
        ("/x%2Fy%20z%41", "/x%2Fy%20zA"),
        ("/%zz%", "/%zz%"),
    ] {
        assert_eq!(routing_path(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-zA-Z`\"(),!&| /\\\\é]{0,40}") {
        let _ = Rule::parse(&text);
    }

    #[test]
    fn cleaning_a_path_twice_changes_nothing(path in "/[a-z%0-9A-F./]{0,24}") {
        let once = routing_path(&path);
        prop_assert_eq!(routing_path(&once), once);
    }
}
