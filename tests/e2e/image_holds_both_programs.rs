//! The Dockerfile, read as a list of instructions, and the archive of `cargo images`, which must have the same content. The
//! Dockerfile is not built here, because there is no registry.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use harness::{image, oci, repository};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// The instructions of the Dockerfile, each on one line.
fn instructions() -> Vec<String> {
    let text = std::fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect()
}

/// The instructions of the last stage, which is the image.
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
        // There is no registry to look up a digest.
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
    // The image has no shell to run a command.
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
    // People run the shipper by hand. The manifests name the webhook.
    assert_eq!(image.last().unwrap(), "ENTRYPOINT [\"/redis-log-shipper\"]");
    let user = image.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    // The kubelet checks `runAsNonRoot` only for numeric users.
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

/// An archive of our image with two programs that do nothing.
fn archive(programs: &Path) -> Vec<u8> {
    for name in image::PROGRAMS {
        std::fs::write(programs.join(name), format!("the program {name}")).unwrap();
    }
    let image = image::image("amd64", programs, "unknown").unwrap();
    let mut archive = Vec::new();
    image.write(&mut archive).unwrap();
    archive
}

/// The regular files of a tar by path: mode and content.
type Files = BTreeMap<String, (u32, Vec<u8>)>;

fn files(archive: &[u8]) -> Files {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap().to_str().unwrap().to_owned());
        assert_eq!(header.mtime().unwrap(), 0, "{path}");
        let mode = header.mode().unwrap();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
        if header.entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(files.insert(path, (mode, bytes)).is_none());
        }
    }
    files
}

/// The content of a descriptor, whose digest and size are checked.
fn blob<'a>(files: &'a Files, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let (_, bytes) = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!((oci::sha256(bytes).as_str(), descriptor["size"].as_u64().unwrap()), (digest, bytes.len() as u64));
    bytes
}

/// The manifest's descriptor, the configuration, and the files of the only layer.
fn opened(archive: &[u8]) -> (Value, Value, Files) {
    let files = files(archive);
    assert_eq!(files["oci-layout"].1, br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&files["index.json"].1).unwrap();
    let described = index["manifests"][0].clone();
    let manifest: Value = serde_json::from_slice(blob(&files, &described)).unwrap();
    let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    let layer = self::files(blob(&files, &manifest["layers"][0]));
    (described, config, layer)
}

/// The words after the instructions of this name.
fn words(instructions: &[String], name: &str) -> Vec<String> {
    let lines = instructions.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn the_archive_has_the_files_user_ports_and_labels_of_the_dockerfile() {
    let (programs, image) = (tempfile::tempdir().unwrap(), image());
    let (described, config, layer) = opened(&archive(programs.path()));
    let (of, config) = (|name: &str| words(&image, name), &config["config"]);

    assert_eq!(config["User"], of("USER").concat());
    let entrypoint: Value = serde_json::from_str(&of("ENTRYPOINT").concat()).unwrap();
    assert_eq!(config["Entrypoint"], entrypoint);
    let ports: BTreeSet<_> = config["ExposedPorts"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(ports, of("EXPOSE").iter().map(|port| format!("{port}/tcp")).collect());
    let arguments = of("ARG");
    let text = image.iter().find_map(|line| line.strip_prefix("LABEL ")).unwrap();
    let mut quoted = text.split('"');
    let mut labels = serde_json::Map::new();
    while let (Some(name), Some(value)) = (quoted.next(), quoted.next()) {
        let argument = arguments.iter().filter_map(|argument| argument.split_once('='));
        let value =
            argument.fold(value.to_owned(), |value, (name, default)| value.replace(&format!("${{{name}}}"), default));
        labels.insert(name.trim().trim_end_matches('=').to_owned(), value.into());
    }
    assert_eq!((config["Labels"].as_object().unwrap(), labels.len()), (&labels, 6));

    // The Dockerfile copies each file of the layer, or its directory.
    let copies: Vec<_> = image.iter().filter_map(|line| line.strip_prefix("COPY ")?.rsplit_once(' ')).collect();
    let under = |to: &str, path: &str| to == path || path.starts_with(&format!("{to}/"));
    for path in layer.keys() {
        assert!(copies.iter().any(|(_, to)| under(to, &format!("/{path}"))), "{path} is not in the Dockerfile");
    }
    for (_, to) in &copies {
        assert!(layer.keys().any(|path| under(to, &format!("/{path}"))), "{to} is not in the archive");
    }
    for (path, (mode, _)) in &layer {
        let expected = if image::PROGRAMS.contains(&path.as_str()) { 0o755 } else { 0o644 };
        assert_eq!(*mode, expected, "{path}");
    }

    // containerd, podman and skopeo find the image by these names. The manifests must ask for the same ones.
    let deployment = std::fs::read_to_string(repository().join("manifests/base/deployment.yaml")).unwrap();
    let name = described["annotations"]["io.containerd.image.name"].as_str().unwrap();
    assert!(deployment.contains(&format!("image: {name}\n")), "{name}");
    assert_eq!(described["annotations"]["org.opencontainers.image.ref.name"], env!("CARGO_PKG_VERSION"));
    assert_eq!(described["platform"], serde_json::json!({"architecture": "amd64", "os": "linux"}));
}

#[test]
fn the_archive_holds_time_zones_and_certificates_that_can_be_read() {
    let programs = tempfile::tempdir().unwrap();
    let (_, _, layer) = opened(&archive(programs.path()));
    let (_, zone) = &layer["usr/share/zoneinfo/Europe/Berlin"];
    jiff::tz::TimeZone::tzif("Europe/Berlin", zone).unwrap();
    let (_, pem) = &layer["etc/ssl/certs/ca-certificates.crt"];
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().unwrap();
    assert!(read.len() > 100, "{}", read.len());
}

#[test]
fn the_archive_is_the_same_bytes_twice() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let once = archive(first.path());
    // Later, with another umask and in another order.
    let mut again = image::image("amd64", second.path(), "unknown").unwrap();
    again.entries.reverse();
    for name in image::PROGRAMS {
        let path = second.path().join(name);
        std::fs::write(&path, format!("the program {name}")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7)).unwrap();
    }
    let mut twice = Vec::new();
    again.write(&mut twice).unwrap();
    assert!(once == twice, "{} and {}", oci::sha256(&once), oci::sha256(&twice));
}
