//! Tables of templates, as users write them.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::testing::canary;

fn rendered(template: &str) -> Result<String, TemplateError> {
    let canary = canary("service: {port: 80, name: front}");
    let variables = [("code", "5.."), ("direction", "inbound")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    render(template, &canary, "1m", &variables)
}

fn check(template: &str, expected: Expect) {
    expected.assert_eq(&rendered(template).unwrap_or_else(|error| format!("error: {error}")));
}

#[test]
fn what_users_write_is_rendered() {
    check("up", expect!["up"]);
    check("", expect![""]);
    check(
        r#"sum(rate(x{ns="{{ namespace }}",c=~"{{ name }}|{{target}}|{{ service }}|{{ ingress }}|{{ route }}"}[{{ interval }}]))"#,
        expect![[r#"sum(rate(x{ns="develop",c=~"backend|backend|front|backend|backend"}[1m]))"#]],
    );
    check("{{ variables.code }} {{ index variables \"direction\" }}", expect!["5.. inbound"]);
    check("a {{- /* why */ -}} b", expect!["ab"]);
    check("a  {{- name -}}  b", expect!["abackendb"]);
    check(r#"{{ printf "%s-%v-%d%%" namespace "x" 3 }}"#, expect!["develop-x-3%"]);
    check(r#"{{ printf "%q" name }}"#, expect![[r#""backend""#]]);
    check(r#"{{ name | printf "%s/%s" namespace }}"#, expect!["develop/backend"]);
    check(r#"{{ $x := printf "%s-canary" (variables.code) }}{{ $x }}"#, expect!["5..-canary"]);
    check("{{ print name `}}` \"}}\" }}", expect!["backend}}}}"]);
    check("}} {x} {", expect!["}} {x} {"]);
}

#[test]
fn what_cannot_be_rendered_says_why() {
    check("{{ variables.nope }}", expect!["error: templateVariables has no nope"]);
    check("{{ index variables \"nope\" }}", expect!["error: templateVariables has no nope"]);
    check("{{ name", expect!["error: an action is not closed: {{ name"]);
    check(
        "{{ if name }}x{{ end }}",
        expect![
            "error: {{ if name }} is not supported: use name, namespace, target, service, ingress, route, interval, variables.KEY, printf, print, index and $variables"
        ],
    );
    check(
        "{{ .Name }}",
        expect![
            "error: {{ .Name }} is not supported: use name, namespace, target, service, ingress, route, interval, variables.KEY, printf, print, index and $variables"
        ],
    );
    check("{{ }}", expect!["error: {{  }}: it is empty"]);
    check(
        "{{ variables }}",
        expect!["error: {{ variables }}: name one of the variables: variables.KEY"],
    );
    check("{{ name namespace }}", expect!["error: {{ name namespace }}: it takes no arguments"]);
    check("{{ $x }}", expect!["error: {{ $x }}: $x is not set"]);
    check(
        "{{ printf \"%s\" }}",
        expect![[r#"error: {{ printf "%s" }}: printf has fewer arguments than verbs"#]],
    );
    check("{{ (name }}", expect!["error: {{ (name }}: a parenthesis is not closed"]);
    check("{{ name.x }}", expect!["error: {{ name.x }}: only variables has fields"]);
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("{{{{ {}name{} }}}}", "(".repeat(1000), ")".repeat(1000));
    assert!(matches!(rendered(&deep), Err(TemplateError::Invalid { .. })));
    assert_eq!(rendered(&"{{ name }}".repeat(10_000)), Err(TemplateError::TooLong));
}

proptest! {
    #[test]
    fn any_text_is_rendered_or_complained_about(text in "(\\{\\{|\\}\\}|[-a-z.$|()\"`%: ä0-9/*\\\\]|name|printf|index|variables){0,40}") {
        let _any = rendered(&text);
    }
}
