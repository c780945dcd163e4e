//! Files, without a cluster.

use std::process::Command;

use harness::programs::program;
use harness::repository;

#[test]
fn prints_one_line_a_check_and_the_fix_of_each_finding() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "lokiUrl: http://loki:3100/loki/api/v1/push\n").unwrap();
    let pods = repository().join("webhook/tests/golden");
    let run = |pod: &str| {
        let mut command = Command::new(program("redis-log-webhook").unwrap());
        command.args(["check", "-f"]).arg(pods.join(pod)).arg("-f").arg(&config).env("KUBECONFIG", "/nowhere");
        let output = command.output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (text, code) = run("a-vanilla.pod.yaml");
    assert!(text.ends_with("2 ok, 0 info, 0 warn, 0 fail, 1 skipped\n"), "{text}");
    assert!(
        text.contains("config.yaml is valid\n") && text.contains("gets the sidecar: the webhook adds it\n"),
        "{text}"
    );
    assert_eq!(code, Some(0));
    let (text, code) = run("c-ephemeral.pod.yaml");
    assert!(
        text.contains("\n        RLS204: pod ") && text.contains("\n        fix: Set spec.persistentSpec."),
        "{text}"
    );
    assert!(text.contains("docs/troubleshooting.md#rls204\n") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(code, Some(1));
}
