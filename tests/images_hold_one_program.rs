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

/// The instructions of the stage `name`, and of those it is made from.
fn image(name: &str) -> Vec<String> {
    let all = instructions();
    let end = format!(" AS {name}");
    let at = all.iter().position(|line| line.starts_with("FROM ") && line.ends_with(&end)).unwrap();
    let from = all[at].strip_prefix("FROM ").unwrap().strip_suffix(&end).unwrap();
    let mut stage =
        if all.iter().any(|line| line.ends_with(&format!(" AS {from}"))) { image(from) } else { vec![all[at].clone()] };
    stage.extend(all[at + 1..].iter().take_while(|line| !line.starts_with("FROM ")).cloned());
    stage
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
fn each_image_holds_one_static_program_no_shell_and_no_user_but_a_number() {
    for (target, program) in [("webhook", "redis-log-webhook"), ("shipper", "redis-log-shipper")] {
        let stage = image(target);
        assert_eq!(stage[0], "FROM scratch AS base", "{target}");
        // Nothing runs in it, so nothing is in it that could.
        assert!(!stage.iter().any(|line| line.starts_with("RUN ") || line.starts_with("ADD ")), "{target}");
        let data = ["COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo", "COPY LICENSE /licenses/LICENSE"];
        for line in data {
            assert!(stage.iter().any(|is| is == line), "{target}: {line}");
        }
        let programs = stage.iter().filter(|line| line.starts_with("COPY --from=build /out/"));
        assert_eq!(programs.collect::<Vec<_>>(), [&format!("COPY --from=build /out/{program} /{program}")], "{target}");
        assert_eq!(stage.last().unwrap(), &format!("ENTRYPOINT [\"/{program}\"]"), "{target}");
        let user = stage.iter().filter_map(|line| line.strip_prefix("USER ")).next_back().unwrap();
        // `runAsNonRoot` is decided on numbers.
        assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{target}: {user}");
        let labels: String = stage.iter().filter(|line| line.starts_with("LABEL ")).cloned().collect();
        for label in ["title", "description", "source", "licenses", "version", "revision"] {
            assert!(labels.contains(&format!("org.opencontainers.image.{label}=")), "{target}: {label}");
        }
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
