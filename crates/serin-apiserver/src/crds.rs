//! Definitions of foreign kinds that must be there before their controllers start.

use serde_json::Value;

/// Kinds that Traefik's provider lists: it waits when one of them is missing.
const TRAEFIK: &str = include_str!("crds/traefik.json");

/// The CustomResourceDefinitions of `traefik.io/v1alpha1`, typed where canaries use them.
pub fn traefik_crds() -> Vec<Value> {
    serde_json::from_str(TRAEFIK).expect("the tests parse this constant")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::from_crd;

    #[test]
    fn traefik_finds_every_kind_that_it_lists() {
        let mut plurals = Vec::new();
        for crd in traefik_crds() {
            let resource = from_crd(&crd).unwrap();
            assert!(resource.version("v1alpha1").unwrap().schema.is_some());
            plurals.push(resource.id.plural);
        }
        plurals.sort();
        assert_eq!(
            plurals,
            [
                "ingressroutes",
                "ingressroutetcps",
                "ingressrouteudps",
                "middlewares",
                "middlewaretcps",
                "serverstransports",
                "serverstransporttcps",
                "tlsoptions",
                "tlsstores",
                "traefikservices",
            ]
        );
    }
}
