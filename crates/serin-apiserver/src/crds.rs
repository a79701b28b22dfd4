//! CustomResourceDefinitions that Traefik and Gateway API controllers need at their start.

use serde_json::Value;

/// The kinds that Traefik's provider lists: it waits while one of them is missing.
const TRAEFIK: &str = include_str!("crds/traefik.json");

/// The CustomResourceDefinitions of `traefik.io/v1alpha1`, typed where canaries use them.
pub fn traefik_crds() -> Vec<Value> {
    serde_json::from_str(TRAEFIK).expect("the tests parse this constant")
}

/// The kinds that controllers of the Gateway API list.
const GATEWAY_API: &str = include_str!("crds/gateway_api.json");

/// The CustomResourceDefinitions of `gateway.networking.k8s.io`, with HTTPRoutes typed and defaulted as the API does.
pub fn gateway_api_crds() -> Vec<Value> {
    serde_json::from_str(GATEWAY_API).expect("the tests parse this constant")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::from_crd;

    #[test]
    fn the_gateway_api_is_whole() {
        let mut plurals = Vec::new();
        for crd in gateway_api_crds() {
            let resource = from_crd(&crd).unwrap();
            let name = if resource.id.plural == "referencegrants" { "v1beta1" } else { "v1" };
            let version = if resource.id.plural == "tcproutes" { "v1alpha2" } else { name };
            assert!(resource.version(version).unwrap().schema.is_some());
            plurals.push(resource.id.plural);
        }
        plurals.sort();
        let wanted = [
            "backendtlspolicies",
            "gatewayclasses",
            "gateways",
            "grpcroutes",
            "httproutes",
            "referencegrants",
            "tcproutes",
            "tlsroutes",
        ];
        assert_eq!(plurals, wanted);
    }

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
