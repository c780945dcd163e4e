//! Starts a container of a stored pod as a kubelet does: variables of the command line expanded, the environment from the
//! downward API, volumes as directories. Everything is below one directory of the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cluster::Cluster;

/// The name of the node on which the pods run.
pub const NODE: &str = "node-1";

/// A container of a stored pod.
#[derive(Debug)]
pub struct Container<'a> {
    pod: &'a Value,
    spec: &'a Value,
    root: PathBuf,
}

impl<'a> Container<'a> {
    /// The container `name` of `pod`, with its mounts below `root`.
    pub fn new(pod: &'a Value, name: &str, root: &Path) -> anyhow::Result<Self> {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array).context("no containers")?;
        let container = containers.iter().find(|container| container["name"] == name);
        Ok(Self { pod, spec: container.with_context(|| format!("no container {name}"))?, root: root.to_owned() })
    }

    /// Where the container's `path` is on this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Creates the volumes: directories for claims and emptyDirs, files for `ConfigMap`s and Secrets, and the projected token, CAs
    /// and namespace.
    pub async fn make_volumes(&self, cluster: &Cluster) -> anyhow::Result<()> {
        for mount in list(self.spec, "volumeMounts") {
            let path = self.path(text(mount, "mountPath")?);
            std::fs::create_dir_all(&path)?;
            let volume = list(&self.pod["spec"], "volumes").find(|volume| volume["name"] == mount["name"]);
            let volume = volume.with_context(|| format!("no volume for {mount}"))?;
            for source in list(&volume["projected"], "sources") {
                self.project(source, &path, cluster).await?;
            }
            self.copy(volume, &path, cluster).await?;
        }
        Ok(())
    }

    /// The container's args with expanded variables. Mounted paths point below the root.
    pub fn args(&self) -> anyhow::Result<Vec<String>> {
        let env = self.env()?;
        let expanded = list(self.spec, "args").map(|arg| {
            let arg = arg.as_str().context("an argument that is no string")?.to_owned();
            Ok(self.map_arg(&expanded(&arg, &env)))
        });
        expanded.collect()
    }

    /// The container's environment.
    pub fn env(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut env: Vec<(String, String)> = Vec::new();
        for variable in list(self.spec, "env") {
            let value = self.value(variable, &env)?;
            env.push((text(variable, "name")?.to_owned(), value));
        }
        Ok(env)
    }

    /// The command: `program` with the container's args and environment. The container must name the same program.
    pub fn command(&self, program: &Path) -> anyhow::Result<Command> {
        let named = list(self.spec, "command").map(|word| Path::new(word.as_str().unwrap_or_default()).file_name());
        anyhow::ensure!(named.eq([program.file_name()]), "the container's command is not {}", program.display());
        let mut command = Command::new(program);
        let env = self.env()?.into_iter().map(|(name, value)| (name, self.map_path(value)));
        command.args(self.args()?).envs(env);
        Ok(command)
    }

    /// Maps the value of `--flag=PATH` as [`Self::map_path`] does.
    fn map_arg(&self, arg: &str) -> String {
        match arg.split_once('=') {
            Some((flag, value)) => format!("{flag}={}", self.map_path(value.to_owned())),
            None => arg.to_owned(),
        }
    }

    /// Moves a mounted path below the root, and leaves any other value alone.
    fn map_path(&self, value: String) -> String {
        let mut mounted = list(self.spec, "volumeMounts").filter_map(|mount| mount.get("mountPath")?.as_str());
        if mounted.any(|path| Path::new(&value).starts_with(path)) {
            self.path(&value).display().to_string()
        } else {
            value
        }
    }

    fn value(&self, variable: &Value, before: &[(String, String)]) -> anyhow::Result<String> {
        if let Some(value) = variable["value"].as_str() {
            return Ok(expanded(value, before));
        }
        let path = variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str);
        self.field(path.with_context(|| format!("a variable without a value: {variable}"))?)
    }

    fn field(&self, path: &str) -> anyhow::Result<String> {
        let metadata = &self.pod["metadata"];
        let value = match path {
            "metadata.name" => metadata["name"].as_str(),
            "metadata.namespace" => metadata["namespace"].as_str(),
            "spec.nodeName" => Some(NODE),
            _ => match path.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']")) {
                Some(label) => metadata["labels"].get(label).and_then(Value::as_str),
                None => bail!("a field that this kubelet does not know: {path}"),
            },
        };
        Ok(value.with_context(|| format!("the pod has no {path}"))?.to_owned())
    }

    async fn copy(&self, volume: &Value, dir: &Path, cluster: &Cluster) -> anyhow::Result<()> {
        let namespace = self.field("metadata.namespace")?;
        if let Some(name) = volume.pointer("/configMap/name").and_then(Value::as_str) {
            let map = cluster.config_map(&namespace, name).await?.with_context(|| format!("no ConfigMap {name}"))?;
            for (key, text) in map.data.unwrap_or_default() {
                std::fs::write(dir.join(key), text)?;
            }
        }
        if let Some(name) = volume.pointer("/secret/secretName").and_then(Value::as_str) {
            let secret = cluster.secret(&namespace, name).await?.with_context(|| format!("no Secret {name}"))?;
            for (key, bytes) in secret.data.unwrap_or_default() {
                std::fs::write(dir.join(key), bytes.0)?;
            }
        }
        Ok(())
    }

    async fn project(&self, source: &Value, dir: &Path, cluster: &Cluster) -> anyhow::Result<()> {
        let namespace = self.field("metadata.namespace")?;
        if let Some(token) = source.get("serviceAccountToken") {
            let account = text(&self.pod["spec"], "serviceAccountName")?;
            let lifetime = token["expirationSeconds"].as_i64().context("a token without a lifetime")?;
            std::fs::write(dir.join(text(token, "path")?), cluster.token(&namespace, account, lifetime).await?)?;
        }
        if let Some(map) = source.get("configMap") {
            let name = text(map, "name")?;
            let Some(found) = cluster.config_map(&namespace, name).await? else {
                anyhow::ensure!(map["optional"] == true, "a pod that needs the ConfigMap {name} would hang");
                return Ok(());
            };
            for item in list(map, "items") {
                let data = found.data.as_ref().and_then(|data| data.get(item["key"].as_str()?));
                std::fs::write(dir.join(text(item, "path")?), data.context("a key that is not in the ConfigMap")?)?;
            }
        }
        for item in list(&source["downwardAPI"], "items") {
            let field = item.pointer("/fieldRef/fieldPath").and_then(Value::as_str).context("no field")?;
            std::fs::write(dir.join(text(item, "path")?), self.field(field)?)?;
        }
        Ok(())
    }
}

/// Expands `$(NAME)` in `text` to values of `env`, and `$$` to `$`.
fn expanded(text: &str, env: &[(String, String)]) -> String {
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let reference = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let value = reference.and_then(|(name, after)| Some((&env.iter().rfind(|(known, _)| known == name)?.1, after)));
        expanded.push_str(value.map_or("$", |(value, _)| value));
        rest = value.map_or_else(|| after.strip_prefix('$').unwrap_or(after), |(_, after)| after);
    }
    expanded + rest
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {value}"))
}
