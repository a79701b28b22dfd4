//! A session of the real kubectl (1.34 or later) when `SERIN_KUBECTL` names one; its output is the expectation.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use expect_test::{Expect, expect};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::http::serve;

struct Session {
    kubectl: PathBuf,
    home: PathBuf,
    address: String,
}

impl Session {
    /// What kubectl prints, on both streams, with its exit code when it is not 0.
    async fn run(&self, arguments: &str, input: &str) -> String {
        let mut child = tokio::process::Command::new(&self.kubectl)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("EDITOR", "sed -i s/size:.*/size:\\ 9/")
            .args(["--server", &self.address])
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let mut text = format!("$ kubectl {arguments}\n");
        text += &String::from_utf8_lossy(&output.stdout);
        text += &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            writeln!(text, "[{}]", output.status.code().unwrap_or(-1)).unwrap();
        }
        text
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
async fn check(steps: &[(&str, &str)], expected: Expect) {
    let Some(kubectl) = std::env::var_os("SERIN_KUBECTL") else {
        println!("skipped: SERIN_KUBECTL does not name a kubectl");
        return;
    };
    let server = TestServer::with_widgets().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(serve(listener, server.api.clone()));
    let home =
        std::env::temp_dir().join(format!("serin-kubectl-{}", address.replace([':', '/'], "-")));
    tokio::fs::create_dir_all(&home).await.unwrap();
    let session = Session { kubectl: Path::new(&kubectl).to_owned(), home, address };
    let mut transcript = String::new();
    for (arguments, input) in steps {
        transcript += &session.run(arguments, input).await;
    }
    serving.abort();
    tokio::fs::remove_dir_all(&session.home).await.unwrap();
    expected.assert_eq(&transcript);
}

const WIDGET: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 2}\n";
const CHANGED: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 5}\n";
const TYPO: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: b}\nspec: {sise: 5}\n";
const TOO_BIG: &str =
    "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: b}\nspec: {size: 50}\n";

const STEPS: &[(&str, &str)] = &[
    ("create namespace t", ""),
    ("apply -f -", WIDGET),
    ("apply -f -", WIDGET),
    ("get widgets", ""),
    ("get widgets -o wide", ""),
    ("apply -f -", TYPO),
    ("apply -f -", TOO_BIG),
    ("scale widget a --replicas=4", ""),
    ("apply --server-side -f -", CHANGED),
    ("apply --server-side --force-conflicts -f -", CHANGED),
    ("get widget a -o jsonpath={.spec.size}{.metadata.generation}{\"\\n\"}", ""),
    ("edit widget a", ""),
    ("patch widget a -p {\"spec\":{\"size\":1}}", ""),
    ("patch widget a --type=merge --subresource=status -p {\"status\":{\"ready\":1}}", ""),
    ("wait widget/a --for=jsonpath={.status.ready}=1 --timeout=5s", ""),
    ("label widget a x=y", ""),
    ("get widgets -l x=y -o name", ""),
    ("auth can-i create widgets", ""),
    ("explain widget.spec.size", ""),
    ("delete widget a", ""),
    ("delete widget a", ""),
    ("get nothing", ""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_as_with_a_real_cluster() {
    check(STEPS, expect![[r#"
        $ kubectl create namespace t
        namespace/t created
        $ kubectl apply -f -
        widget.example.com/a created
        $ kubectl apply -f -
        widget.example.com/a unchanged
        $ kubectl get widgets
        NAME   SIZE
        a      2
        $ kubectl get widgets -o wide
        NAME   SIZE   READY
        a      2      
        $ kubectl apply -f -
        Error from server (BadRequest): error when creating "STDIN": Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.sise"
        [1]
        $ kubectl apply -f -
        The Widget "b" is invalid: spec.size: Invalid value: 50: spec.size in body should be less than or equal to 10
        [1]
        $ kubectl scale widget a --replicas=4
        widget.example.com/a scaled
        $ kubectl apply --server-side -f -
        error: Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using example.com/v1: .spec.size
        Please review the fields above--they currently have other managers. Here
        are the ways you can resolve this warning:
        * If you intend to manage all of these fields, please re-run the apply
          command with the `--force-conflicts` flag.
        * If you do not intend to manage all of the fields, please edit your
          manifest to remove references to the fields that should keep their
          current managers.
        * You may co-own fields by updating your manifest to match the existing
          value; in this case, you'll become the manager if the other manager(s)
          stop managing the field (remove it from their configuration).
        See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts
        [1]
        $ kubectl apply --server-side --force-conflicts -f -
        widget.example.com/a serverside-applied
        $ kubectl get widget a -o jsonpath={.spec.size}{.metadata.generation}{"\n"}
        53
        $ kubectl edit widget a
        widget.example.com/a edited
        $ kubectl patch widget a -p {"spec":{"size":1}}
        error: application/strategic-merge-patch+json is not supported by example.com/v1, Kind=Widget: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml
        [1]
        $ kubectl patch widget a --type=merge --subresource=status -p {"status":{"ready":1}}
        widget.example.com/a patched
        $ kubectl wait widget/a --for=jsonpath={.status.ready}=1 --timeout=5s
        widget.example.com/a condition met
        $ kubectl label widget a x=y
        widget.example.com/a labeled
        $ kubectl get widgets -l x=y -o name
        widget.example.com/a
        $ kubectl auth can-i create widgets
        yes
        $ kubectl explain widget.spec.size
        GROUP:      example.com
        KIND:       Widget
        VERSION:    v1

        FIELD: size <integer>


        DESCRIPTION:
            <empty>

        $ kubectl delete widget a
        widget.example.com "a" deleted from default namespace
        $ kubectl delete widget a
        Error from server (NotFound): widgets.example.com "a" not found
        [1]
        $ kubectl get nothing
        error: the server doesn't have a resource type "nothing"
        [1]
    "#]]).await;
}
