//! The Dockerfile, read as what it is: an ordered list of instructions. It is not built here: no image registry is at hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use harness::repository;

/// The instructions of the Dockerfile, each on one line.
fn instructions() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect()
}

/// The instructions of the last stage: the image.
fn image() -> Vec<String> {
    let all = instructions();
    let at = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    all[at..].to_vec()
}

#[test]
fn builds_this_version_on_bases_that_are_named_exactly() {
    assert!(instructions().contains(&format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"))));
    let all = instructions();
    let stages: Vec<_> = all.iter().filter_map(|line| line.strip_prefix("FROM ")?.split_once(" AS ")).collect();
    let ours: Vec<_> = stages.iter().map(|(_, name)| *name).collect();
    for (base, _) in stages.iter().filter(|(base, _)| *base != "scratch" && !ours.contains(base)) {
        // A digest that nobody looked up would be an invented one.
        let (_, tag) = base.split_once(':').unwrap();
        assert!(tag.split('-').next().unwrap().split('.').count() == 3 && !base.contains('@'), "{base}");
    }
    for copied in all.iter().filter_map(|line| line.split_once("--from=")?.1.split(' ').next()) {
        assert!(ours.contains(&copied), "{copied} is no stage of this file");
    }
}

#[test]
fn the_image_holds_two_static_programs_no_shell_and_no_user_but_a_number() {
    let image = image();
    assert_eq!(image[0], "FROM scratch");
    // Nothing is in it that could run a command.
    assert!(!image.iter().any(|line| line.starts_with("RUN ") || line.starts_with("ADD ")));
    let copied: Vec<_> = image.iter().filter(|line| line.starts_with("COPY ")).map(String::as_str).collect();
    assert_eq!(
        copied,
        [
            "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
            "COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo",
            "COPY LICENSE /licenses/LICENSE",
            "COPY --from=build /out/redis-log-webhook /redis-log-webhook",
            "COPY --from=build /out/redis-log-shipper /redis-log-shipper",
        ]
    );
    // The shipper is what somebody runs by hand; the manifests name the webhook.
    assert_eq!(image.last().unwrap(), "ENTRYPOINT [\"/redis-log-shipper\"]");
    let user = image.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    // `runAsNonRoot` is decided on numbers.
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let labels: String = image.iter().filter(|line| line.starts_with("LABEL ")).cloned().collect();
    for label in ["title", "description", "source", "licenses", "version", "revision"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
}

#[test]
fn nothing_that_the_build_needs_is_left_out_of_its_context() {
    let ignored = std::fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let members = members.split_once(']').unwrap().0.split('"').filter(|text| text.chars().any(char::is_alphabetic));
    for needed in members.chain(["Cargo.toml", "Cargo.lock", "LICENSE"]) {
        assert!(!ignored.lines().any(|line| line.trim_matches('/') == needed), "{needed}");
    }
}
