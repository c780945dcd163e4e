//! Writes container images without a registry, as OCI archives from a list of files.
//!
//! `ctr images import`, `skopeo copy oci-archive:` and `podman load` read such an archive. The same files give the same bytes:
//! entries are sorted, the caller sets every timestamp, and nothing is compressed. The content of our own image is defined in
//! [`crate::image`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// An image of one layer.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The full name with a tag, such as `ghcr.io/redis-log-shipper/redis-log-shipper:0.1.0`.
    pub name: String,
    /// The processor, in the words of OCI: `amd64` or `arm64`.
    pub architecture: String,
    /// The configuration of its containers.
    pub config: Config,
    /// The content of the layer. Parent directories are optional.
    pub entries: Vec<Entry>,
    /// The timestamp of every entry, in seconds since 1970.
    pub created: i64,
}

/// How a container of an image is started.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `UID:GID`; empty means root.
    pub user: String,
    /// The command.
    pub entrypoint: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// TCP ports, for information.
    pub ports: BTreeSet<u16>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One file, directory or symbolic link of an image.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path in the image, such as `/redis-log-shipper`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// UID and GID.
    pub owner: (u64, u64),
    /// The kind of the entry.
    pub content: Content,
}

/// The kind of an entry of an image.
#[derive(Debug, Clone)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with the bytes of a file on this machine.
    File(PathBuf),
    /// A symbolic link to this target.
    Link(String),
}

impl Entry {
    /// A file that root owns.
    pub fn new(path: &str, mode: u32, content: Content) -> Self {
        Self { path: path.to_owned(), mode, owner: (0, 0), content }
    }
}

impl Image {
    /// Writes the archive.
    pub fn write(&self, to: impl Write) -> anyhow::Result<()> {
        let (_, tag) = self.name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).with_context(|| {
            format!("invalid image name \"{}\": expected a name with a tag, such as example.com/name:1.0", self.name)
        })?;
        let layer = self.layer()?;
        let config = self.config(&sha256(&layer))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        if let Some(described) = described.as_object_mut() {
            let names = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
            described.insert("annotations".to_owned(), names);
            described.insert("platform".to_owned(), json!({"architecture": self.architecture, "os": "linux"}));
        }
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        }))?;
        let layout = serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?;

        let mut files = BTreeMap::from([("oci-layout".to_owned(), layout), ("index.json".to_owned(), index)]);
        files.extend([layer, config, manifest].map(|blob| (format!("blobs/sha256/{}", sha256(&blob)), blob)));
        let mut archive = Archive::new(to, self.created);
        for directory in ["blobs/", "blobs/sha256/"] {
            archive.directory(directory, 0o755, (0, 0))?;
        }
        for (path, bytes) in files {
            archive.file(&path, 0o644, (0, 0), &bytes)?;
        }
        archive.finish()
    }

    /// The image's one layer: a tar of its entries, with an entry for each parent directory.
    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut entries = BTreeMap::new();
        for entry in &self.entries {
            let path = entry.path.trim_matches('/');
            ensure!(!path.is_empty(), "invalid path \"{}\" in an image: expected a path below /", entry.path);
            for (at, _) in path.match_indices('/') {
                let parent = path.get(..at).unwrap_or_default().to_owned();
                entries.entry(parent).or_insert_with(|| Entry::new(path, 0o755, Content::Directory));
            }
            entries.insert(path.to_owned(), entry.clone());
        }
        let mut layer = Vec::new();
        let mut archive = Archive::new(&mut layer, self.created);
        for (path, entry) in entries {
            match &entry.content {
                Content::Directory => archive.directory(&format!("{path}/"), entry.mode, entry.owner)?,
                Content::Bytes(bytes) => archive.file(&path, entry.mode, entry.owner, bytes)?,
                Content::File(file) => {
                    let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
                    archive.file(&path, entry.mode, entry.owner, &bytes)?;
                }
                Content::Link(target) => archive.link(&path, target, entry.owner)?,
            }
        }
        archive.finish()?;
        Ok(layer)
    }

    fn config(&self, layer: &str) -> anyhow::Result<Vec<u8>> {
        let created = jiff::Timestamp::from_second(self.created)?.to_string();
        let Config { user, entrypoint, env, ports, labels } = &self.config;
        let ports: BTreeMap<String, Value> = ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
        Ok(serde_json::to_vec(&json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": created,
            "config": {"User": user, "Entrypoint": entrypoint, "Env": env, "ExposedPorts": ports, "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
            "history": [{"created": created, "created_by": "cargo images"}],
        }))?)
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(blob)), "size": blob.len()})
}

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A tar whose entries all have the same timestamp.
struct Archive<W: Write> {
    tar: Builder<W>,
    created: i64,
}

impl<W: Write> Archive<W> {
    fn new(to: W, created: i64) -> Self {
        Self { tar: Builder::new(to), created }
    }

    fn header(&self, kind: EntryType, mode: u32, (uid, gid): (u64, u64), size: u64) -> anyhow::Result<Header> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(size);
        header.set_mtime(u64::try_from(self.created).context("expected a timestamp after 1970")?);
        Ok(header)
    }

    fn directory(&mut self, path: &str, mode: u32, owner: (u64, u64)) -> anyhow::Result<()> {
        let mut header = self.header(EntryType::Directory, mode, owner, 0)?;
        Ok(self.tar.append_data(&mut header, path, std::io::empty())?)
    }

    fn file(&mut self, path: &str, mode: u32, owner: (u64, u64), bytes: &[u8]) -> anyhow::Result<()> {
        let mut header = self.header(EntryType::Regular, mode, owner, u64::try_from(bytes.len())?)?;
        Ok(self.tar.append_data(&mut header, path, bytes)?)
    }

    fn link(&mut self, path: &str, target: &str, owner: (u64, u64)) -> anyhow::Result<()> {
        let mut header = self.header(EntryType::Symlink, 0o777, owner, 0)?;
        Ok(self.tar.append_link(&mut header, path, target)?)
    }

    fn finish(self) -> anyhow::Result<()> {
        Ok(self.tar.into_inner()?.flush()?)
    }
}
