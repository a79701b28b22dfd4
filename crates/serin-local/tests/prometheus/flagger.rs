//! Flagger's queries as they reach Prometheus, for a canary in each of the told namespaces.

use super::pages::NAMESPACES;

const TEMPLATES: &str = include_str!("flagger.txt");

/// Every provider's both metrics in every namespace, with a window of eight seconds.
pub(crate) fn queries() -> Vec<String> {
    let templates: Vec<&str> =
        TEMPLATES.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(templates.len(), 26, "thirteen observers with two metrics each");
    let mut all = Vec::new();
    for template in templates {
        let route = if template.contains("apisix") { "backend" } else { "backend-00002" };
        for namespace in NAMESPACES {
            let mut query = template.to_owned();
            for (name, value) in [
                ("namespace", namespace),
                ("target", "backend"),
                ("service", "backend"),
                ("ingress", "backend"),
                ("route", route),
                ("interval", "8s"),
            ] {
                query = query.replace(&format!("{{{{ {name} }}}}"), value);
            }
            assert!(!query.contains("{{"), "{query}");
            all.push(query);
        }
    }
    all
}
