//! Bodies that kubectl 1.37 sent, and malformed ones.

use serde_json::Value;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The bytes that kubectl sent, and the JSON that they encode.
const SENT: &[(&str, &str)] = &[
    (
        "6b3873000a2d0a1861757468656e7469636174696f6e2e6b38732e696f2f7631121153656c665375626a656374526576696577121a0a100a0012001a0022002a0032003800420012060a040a0012001a002200",
        r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#,
    ),
    (
        "6b3873000a130a027631120d44656c6574654f7074696f6e73120208051a002200",
        r#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":5}"#,
    ),
    (
        "6b3873000a0f0a02763112094e616d65737061636512190a110a017812001a0022002a0032003800420012001a020a001a002200",
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}"#,
    ),
    (
        "6b3873000a0f0a0276311209436f6e6669674d6170121f0a150a016312001a047465737422002a0032003800420012060a01611201621a002200",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"test"},"data":{"a":"b"}}"#,
    ),
    (
        "6b3873000a0c0a027631120653656372657412210a150a017312001a047465737422002a0032003800420012060a01611201621a001a002200",
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"test"},"data":{"a":"Yg=="}}"#,
    ),
    (
        "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b6010a1f0a016412001a047465737422002a003200380042005a080a036170701201641284010802120a0a080a036170701201641a6c0a1a0a0012001a0022002a003200380042005a080a03617070120164124e12300a056e67696e7812076e67696e783a312a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001a002200",
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","namespace":"test","labels":{"app":"d"}},
            "spec":{"replicas":2,"selector":{"matchLabels":{"app":"d"}},"template":{"metadata":{"labels":{"app":"d"}},
            "spec":{"containers":[{"name":"nginx","image":"nginx:1","ports":[{"containerPort":80}]}]}}}}"#,
    ),
    (
        "6b3873000a0d0a02763112075365727669636512670a1f0a017312001a047465737422002a003200380042005a080a0361707012017312400a1b0a0738302d38303830120354435018502207080010903f1a00280012080a036170701201731a002209436c757374657249503a00420052005a00600068001a020a001a002200",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"test","labels":{"app":"s"}},
            "spec":{"ports":[{"name":"80-8080","protocol":"TCP","port":80,"targetPort":8080}],"selector":{"app":"s"},"type":"ClusterIP"}}"#,
    ),
    (
        "6b3873000a1f0a146e6574776f726b696e672e6b38732e696f2f76311207496e677265737312480a150a016912001a047465737422002a00320038004200122b1a290a07666f6f2e636f6d121e0a1c0a1a0a012f120d220b0a0373766312040a0010501a065072656669781a020a001a002200",
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i","namespace":"test"},
            "spec":{"rules":[{"host":"foo.com","http":{"paths":[{"path":"/","pathType":"Prefix",
            "backend":{"service":{"name":"svc","port":{"number":80}}}}]}}]}}"#,
    ),
    (
        "6b3873000a0f0a0862617463682f763112034a6f621286010a150a016a12001a047465737422002a00320038004200126332610a100a0012001a0022002a00320038004200124d122a0a016a120762757379626f781a046563686f1a0268692a0042006a007200800100880100900100a201001a054e65766572320042004a0052005800600068008201008a01009a0100c201001a082000280030003a001a002200",
        r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j","namespace":"test"},"spec":{"template":{"spec":{
            "containers":[{"name":"j","image":"busybox","command":["echo","hi"]}],"restartPolicy":"Never"}}}}"#,
    ),
    (
        "6b3873000a290a0e6175746f7363616c696e672f76321217486f72697a6f6e74616c506f644175746f7363616c6572126d0a1b0a07706f64696e666f12001a047465737422002a0032003800420012480a1e0a0a4465706c6f796d656e741207706f64696e666f1a07617070732f76311001180522220a085265736f7572636522160a03637075120f0a0b5574696c697a6174696f6e20501a04180020001a002200",
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"podinfo","namespace":"test"},
            "spec":{"scaleTargetRef":{"kind":"Deployment","name":"podinfo","apiVersion":"apps/v1"},"minReplicas":1,"maxReplicas":5,
            "metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]}}"#,
    ),
    (
        "6b3873000a2b0a1c726261632e617574686f72697a6174696f6e2e6b38732e696f2f7631120b526f6c6542696e64696e67126c0a150a017212001a047465737422002a0032003800420012260a04557365721219726261632e617574686f72697a6174696f6e2e6b38732e696f1a017922001a2b0a19726261632e617574686f72697a6174696f6e2e6b38732e696f120b436c7573746572526f6c651a01781a002200",
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"r","namespace":"test"},
            "subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"y"}],
            "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"x"}}"#,
    ),
    (
        "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e42756467657412370a150a017012001a047465737422002a0032003800420012120a06080010011a0012080a060a01611201621a0a080018002000280030001a002200",
        r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"p","namespace":"test"},
            "spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}"#,
    ),
    (
        "6b3873000a130a027631120d5265736f7572636551756f746112270a150a017112001a047465737422002a00320038004200120c0a0a0a0363707512030a01311a001a002200",
        r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"test"},"spec":{"hard":{"cpu":"1"}}}"#,
    ),
    (
        "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e52657175657374121a0a100a0012001a0022002a0032003800420012001a040a0012001a002200",
        r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest"}"#,
    ),
    (
        "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a656374416363657373526576696577123c0a100a0012001a0022002a00320038004200121e0a1c0a0764656661756c7412036765741a0022002a04706f647332003a001a08080012001a0020001a002200",
        r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview",
            "spec":{"resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}},"status":{"allowed":false}}"#,
    ),
];

#[test]
fn what_kubectl_sends_is_understood() {
    for (sent, wanted) in SENT {
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(decode(&bytes(sent)).unwrap(), wanted);
    }
}

#[test]
fn what_is_not_understood_is_refused_with_a_way_out() {
    // {1: {1: "v9", 2: "Thing"}, 2: {}}
    let error = decode(b"k8s\0\x0a\x0b\x0a\x02v9\x12\x05Thing\x12\x00").unwrap_err();
    assert_eq!(error.status(), (415, "UnsupportedMediaType"));
    assert!(
        error.to_string().contains("Thing of v9")
            && error.to_string().contains("kubectl apply -f -"),
        "{error}"
    );
    assert_eq!(decode(b"{}").unwrap_err().status().0, 400);
}

#[test]
fn every_message_of_the_table_is_there() {
    let plain = [
        "string",
        "int",
        "bool",
        "double",
        "bytes",
        "Time",
        "MicroTime",
        "IntOrString",
        "Quantity",
        "RawExtension",
        "-",
    ];
    let table = table();
    for (name, fields) in &table.messages {
        for field in fields.values() {
            let kind = field.kind.trim_start_matches("[]").trim_start_matches("{}");
            assert!(
                plain.contains(&kind) || table.messages.contains_key(kind),
                "{name}.{}: {kind}",
                field.name
            );
        }
    }
    for message in table.roots.values() {
        assert!(table.messages.contains_key(message), "{message}");
    }
}

#[test]
fn broken_bodies_are_errors_and_not_panics() {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap()
    };
    for (sent, _) in SENT {
        let sent = bytes(sent);
        for length in 0..sent.len() {
            let _ = decode(&sent[..length]);
        }
        for _ in 0..500 {
            let mut broken = sent.clone();
            for _ in 0..=random() % 3 {
                let at = random() % broken.len();
                broken[at] = u8::try_from(random() % 256).unwrap();
            }
            if let Ok(value) = decode(&broken) {
                assert!(value["kind"].is_string());
            }
        }
    }
}
