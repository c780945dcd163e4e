//! From the keys of the document to a [`Config`]. Each key is read in one place.

use super::checks::{
    absolute, config_map, config_map_key, config_map_or_none, drain_timeout, drop_rule, field, glob, image,
    image_pattern, is_label_name, label_value, non_empty, qualified_name, redaction_rule, secret, tenant, url,
    url_pattern, zone,
};
use super::quantity::Quantity;
use super::types::{CaSource, Config};
use super::words::Seccomp;
use runtime::drops::DropError;
use runtime::patterns::{self, RuleError};
use runtime::tree::{self, Fault, Section};
use runtime::words;

/// Reads `text`. Faults are in the order of the document's lines. Text that is not YAML is an error.
pub(super) fn read(text: &str) -> Result<(Config, Vec<Fault>), String> {
    let (mut config, mut faults) = (Config::default(), Vec::new());
    if let Some(mut section) = tree::parse(text, &mut faults)? {
        read_sidecar(&mut section, &mut config);
        read_loki(&mut section, &mut config);
        read_streams(&mut section, &mut config);
        section.section("match", |section| read_matching(section, &mut config));
        set(&mut config.namespace, section.parsed("namespace", non_empty));
        section.finish();
    }
    faults.sort_by_key(|fault| fault.line);
    Ok((config, faults))
}

fn read_sidecar(section: &mut Section<'_>, config: &mut Config) {
    set(&mut config.image, section.parsed("image", image));
    set(&mut config.image_pull_policy, section.parsed("imagePullPolicy", words::parse));
    let secrets = section.sections("imagePullSecrets", |section| {
        let (line, is_named) = (section.line(), section.has("name"));
        if !is_named {
            section.fault(line, "name", "missing name: expected the name of a Secret in the pods' namespaces");
        }
        section.parsed("name", secret)
    });
    set(&mut config.image_pull_secrets, secrets.map(|names| names.into_iter().flatten().collect()));
    set(&mut config.allowed_images, section.parsed_texts("allowedImages", image_pattern));
    section.section("resources", |section| {
        set(&mut config.resources.cpu, section.parsed("cpu", Quantity::parse));
        set(&mut config.resources.memory, section.parsed("memory", Quantity::parse));
        let storage = section.parsed("ephemeralStorage", Quantity::parse);
        config.resources.ephemeral_storage = storage.or(config.resources.ephemeral_storage.take());
    });
    set(&mut config.sidecar_mode, section.parsed("sidecarMode", words::parse));
    set(&mut config.state, section.parsed("state", words::parse));
    set(&mut config.seccomp, section.parsed_word("seccomp", Seccomp::parse));
    config.drain_timeout = section.parsed("drainTimeout", drain_timeout).or(config.drain_timeout.take());
    config.log_level = section.parsed("logLevel", words::parse).or(config.log_level);
    config.timezone = section.parsed("timezone", zone).or(config.timezone.take());
    config.multiline = section.parsed("multiline", words::parse).or(config.multiline);
    config.redact = section.parsed("redact", words::parse).or(config.redact);
    set(&mut config.redact_patterns, rules(section, "redactPatterns", redaction_rule, &RuleError::TooMany));
    set(&mut config.drop, rules(section, "drop", drop_rule, &DropError::TooMany));
    set(&mut config.runtime_config, section.parsed("runtimeConfig", config_map_or_none));
}

/// A list of rules, which has a limit.
fn rules(
    section: &mut Section<'_>,
    key: &'static str,
    read: fn(&str) -> Result<String, String>,
    too_many: &dyn std::error::Error,
) -> Option<Vec<String>> {
    let line = section.line_of(key);
    let rules = section.parsed_texts(key, read)?;
    if rules.len() > patterns::MOST {
        section.fault(line, key, too_many.to_string());
    }
    Some(rules)
}

fn read_loki(section: &mut Section<'_>, config: &mut Config) {
    set(&mut config.loki_url, section.parsed("lokiUrl", url));
    set(&mut config.allowed_loki_urls, section.parsed_texts("allowedLokiUrls", url_pattern));
    set(&mut config.tenant, section.parsed("tenant", tenant));
    let mut keys = Vec::new();
    let ca = section.sections("ca", |section| {
        let line = section.line();
        let is_whole = section.has("configMap") && section.has("key");
        let config_map = section.parsed("configMap", config_map);
        let key = section.parsed("key", config_map_key);
        if !is_whole {
            section.fault(line, "configMap", "missing configMap or key: expected both for each CA file");
        }
        if key.as_ref().is_some_and(|key| keys.contains(key)) {
            // The API server would refuse the pod.
            section.fault(
                line,
                "key",
                "duplicate key: expected another key for each CA file, because the key is the file's name in the pod",
            );
        }
        keys.extend(key.clone());
        Some(CaSource { config_map: config_map?, key: key? })
    });
    set(&mut config.ca, ca.map(|sources| sources.into_iter().flatten().collect()));
    section.section("token", |section| {
        let line = section.line_of("expirationSeconds");
        if let Some(seconds) = section.number("expirationSeconds") {
            // A lifetime that is too short is raised later, with a warning.
            match u32::try_from(seconds) {
                Ok(seconds) if seconds > 0 => config.token.expiration_seconds = seconds,
                _ => {
                    section.fault(
                        line,
                        "expirationSeconds",
                        format!(
                            "invalid number of seconds {seconds}: expected a whole number above zero, such as 3600"
                        ),
                    );
                }
            }
        }
        config.token.audience = section.parsed("audience", non_empty).or(config.token.audience.take());
    });
}

fn read_streams(section: &mut Section<'_>, config: &mut Config) {
    set(&mut config.include, section.parsed_texts("include", glob));
    set(&mut config.exclude, section.parsed_texts("exclude", glob));
    read_labels(section, "labels", &mut config.labels, label_value);
    read_labels(section, "labelsFrom", &mut config.labels_from, field);
}

fn read_labels(
    section: &mut Section<'_>,
    key: &'static str,
    labels: &mut Vec<(String, String)>,
    read: fn(&str) -> Result<String, String>,
) {
    let line = section.line_of(key);
    for (name, value) in section.text_map(key).unwrap_or_default() {
        match read(&value) {
            _ if !is_label_name(&name) => {
                section.fault(line, key, format!("invalid label name {name:?}: expected [a-zA-Z_][a-zA-Z0-9_]*"));
            }
            Ok(value) => labels.push((name, value)),
            Err(fault) => section.fault(line, key, fault),
        }
    }
}

fn read_matching(section: &mut Section<'_>, config: &mut Config) {
    let matching = &mut config.matching;
    set(&mut matching.labels, section.text_map("labels"));
    set(&mut matching.cluster_label, section.parsed("clusterLabel", qualified_name));
    set(&mut matching.container, section.parsed("container", non_empty));
    set(&mut matching.log_dir, section.parsed("logDir", absolute));
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        read(text).unwrap().1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        for text in ["", "# nothing yet\n", "---\n", "image:\n"] {
            assert_eq!(read(text).unwrap(), (Config::default(), Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn reads_every_key() {
        let text = "
image: example.com/shipper:1
imagePullPolicy: Always
allowedImages: ['example.com/*']
imagePullSecrets: [{name: registry-login}, {name: other}]
drainTimeout: 3s
resources: {cpu: 1, memory: 32Mi, ephemeralStorage: 128Mi}
sidecarMode: native
state: ephemeral
seccomp: never
logLevel: debug
timezone: Europe/Berlin
multiline: off
redact: off
redactPatterns: ['card=[0-9]{16}']
runtimeConfig: none
drop: [level=debug, 'envoy_access*:level=info']
lokiUrl: http://loki:3100/loki/api/v1/push
allowedLokiUrls: [http://other/push]
tenant: audit
ca: [{configMap: my-ca, key: ca.pem}]
token: {expirationSeconds: 7200, audience: loki}
include: [dmcproxy.log]
exclude: [envoy*]
labels: {team: core, shard: 7}
labelsFrom: {owner: \"metadata.labels['owner']\"}
match:
  labels: {app: mine}
  clusterLabel: cluster
  container: node
  logDir: /logs/
namespace: ops
";
        let (config, faults) = read(text).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        let default = Config::default();
        assert_eq!(config.resources.cpu.as_str(), "1");
        assert!(config.resources.ephemeral_storage.is_some_and(|amount| amount.as_str() == "128Mi"));
        assert_eq!(config.labels, [("team".to_owned(), "core".to_owned()), ("shard".to_owned(), "7".to_owned())]);
        assert_eq!(config.token.audience.as_deref(), Some("loki"));
        assert_eq!(config.matching.log_dir, "/logs");
        // Every value differs from its default, so every key was read.
        assert!(config.image != default.image && config.image_pull_policy != default.image_pull_policy);
        assert_eq!(config.image_pull_secrets, ["registry-login", "other"]);
        assert_eq!(config.drain_timeout.as_deref(), Some("3s"));
        assert!(config.allowed_images != default.allowed_images && config.resources.memory != default.resources.memory);
        assert!(
            config.sidecar_mode != default.sidecar_mode
                && config.state != default.state
                && config.seccomp == Seccomp::Never
        );
        assert!(
            config.log_level.is_some() && config.timezone.is_some() && config.multiline == Some(words::Multiline::Off)
        );
        assert!(config.redact == Some(words::Redact::Off) && config.redact_patterns == ["card=[0-9]{16}"]);
        assert_eq!(config.runtime_config, None);
        assert_eq!(config.drop, ["level=debug", "envoy_access*:level=info"]);
        assert!(config.loki_url != default.loki_url);
        assert!(config.allowed_loki_urls != default.allowed_loki_urls && config.tenant != default.tenant);
        assert!(config.ca != default.ca && config.include != default.include && config.exclude != default.exclude);
        assert!(config.labels_from != default.labels_from && config.namespace != default.namespace);
    }

    #[test]
    fn names_line_key_and_the_nearest_known_key() {
        assert_eq!(
            faults("image: a\nimagePulPolicy: Always\n"),
            ["line 2: imagePulPolicy: unknown key; did you mean imagePullPolicy?"]
        );
        assert_eq!(
            faults("resources:\n  cpu: 1\n  memroy: 1Mi\n"),
            ["line 3: resources.memroy: unknown key; did you mean memory?"]
        );
    }

    #[test]
    fn reports_all_faults_together_in_the_order_of_the_file() {
        let faults = faults(
            "lokiUrl: loki:3100\ntoken:\n  expirationSeconds: -60\nlabels: {a-b: c}\nresources:\n  cpu: -1\nseccomp: maybe\n\
             sidecarMode: extra\nca:\n- configMap: x\nunknown: 1\n",
        );
        let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(
            lines,
            ["line 1", "line 3", "line 4", "line 6", "line 7", "line 8", "line 10", "line 11"],
            "{faults:#?}"
        );
    }

    #[test]
    fn limits_the_rules_and_names_the_line_of_their_key() {
        for (key, rule) in [("drop", "level=debug"), ("redactPatterns", "a=b")] {
            let rules = format!("- {rule}\n").repeat(patterns::MOST + 1);
            let faults = faults(&format!("tenant: a\n{key}:\n{rules}"));
            assert!(faults.len() == 1 && faults[0].starts_with(&format!("line 2: {key}: too many")), "{faults:?}");
            assert!(faults[0].ends_with("expected at most 16"), "{faults:?}");
        }
    }

    #[test]
    fn names_the_expected_value() {
        assert!(faults("tenant: a/b\n")[0].contains("letters, digits"));
        assert!(faults("allowedImages:\n- a:1\n- 'b*'\n")[0].starts_with("line 3: allowedImages: invalid pattern"));
        for good in
            ["allowedImages: ['registry/*', 'registry/a:*', 'registry/a@*']", "allowedLokiUrls: ['https://a:*']"]
        {
            assert_eq!(faults(good), [""; 0], "{good}");
        }
        assert!(faults("include: dmcproxy.log\n")[0].contains("expected a list of strings"));
        assert!(read("- a\n- b\n").unwrap_err().contains("expected a map"));
    }

    /// An invalid configuration is better than a pod that the API server refuses, or a shipper that exits at its start.
    #[test]
    fn refuses_values_that_break_the_pod_or_the_command_line() {
        for (text, said) in [
            ("image: 'a b'", "invalid image"),
            ("labelsFrom: {a: \"metadata.lables['x']\"}", "invalid field"),
            ("labelsFrom: {a: \"metadata.labels['-']\"}", "invalid field"),
            ("labelsFrom: {a: \"metadata.annotations['x']\"}", "invalid field"),
            ("labels: {a: 'x,y'}", "invalid label value"),
            ("include: ['[a']", "invalid pattern"),
            ("exclude: ['{a,b}']", "invalid pattern"),
            ("redactPatterns: ['a=(']", "invalid pattern of rule"),
            ("runtimeConfig: A_B", "invalid ConfigMap name"),
            ("ca: [{configMap: a, key: shipper.yaml}]", "invalid ConfigMap key"),
            ("drop: [debug]", "expected level=LEVEL or pattern=REGEX"),
            ("drop: [level=warning]", "unknown level \"warning\": expected one of trace"),
            ("drop: ['pattern=(']", "invalid pattern of rule"),
            ("timezone: Europe/Berln", "invalid time zone"),
            ("match: {clusterLabel: 'a/b/c'}", "invalid label key"),
            ("ca: [{configMap: A_B, key: ca.crt}]", "invalid ConfigMap name"),
            ("ca: [{configMap: a, key: ../ca.crt}]", "invalid ConfigMap key"),
            ("ca: [{configMap: a, key: token}]", "invalid ConfigMap key"),
            ("ca: [{configMap: a, key: ca.crt}, {configMap: b, key: ca.crt}]", "duplicate key"),
            ("lokiUrl: 'https://lo ki/push'", "invalid URL"),
            ("lokiUrl: 'https:///push'", "invalid URL"),
            ("imagePullSecrets: [{name: A_B}]", "invalid Secret name"),
            ("imagePullSecrets: [{}]", "missing name"),
            ("imagePullSecrets: [login]", "a list of maps"),
            ("drainTimeout: 5", "invalid drain timeout"),
            ("drainTimeout: 11m", "at most 10m"),
            ("drainTimeout: -1s", "at most 10m"),
            ("seccomp: true", "true meant always"),
            ("seccomp: false", "false meant never"),
            ("seccomp: [auto]", "expected a string"),
            ("lokiUrl: 'https://loki:password@evil/push'", "invalid URL"),
            ("tenant: .", "not . or .. alone"),
            ("tenant: ..", "not . or .. alone"),
            ("allowedImages: ['registry/good*']", "only at the end, after / or : or @"),
            ("allowedImages: ['*']", "only at the end"),
            ("allowedImages: ['registry/*/shipper']", "only at the end"),
            ("allowedLokiUrls: ['https://good.example.com*']", "only at the end, after / or :"),
            ("allowedLokiUrls: ['https://*']", "a scheme and a host before the *"),
            ("allowedLokiUrls: ['good.example.com/*']", "a scheme and a host before the *"),
            ("allowedLokiUrls: ['good.example.com']", "invalid URL"),
        ] {
            let faults = faults(text);
            assert!(faults.len() == 1 && faults[0].contains(said), "{text}: {faults:?}");
        }
    }
}
