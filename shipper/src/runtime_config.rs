//! The runtime configuration: an optional file with the settings that may change while the shipper runs.
//!
//! A setting that the file lacks stays as the flags say. Settings that decide where the entries and the token go, or how
//! lines become entries, are refused. This is no second command line, and it never makes the shipper stop: `pipeline` keeps
//! the last valid content.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use globset::Glob;
use runtime::drops::DropError;
use runtime::logging::LogLevel;
use runtime::patterns::{MOST, RuleError};
use runtime::tree::{self, Fault, Section};
use runtime::words::{self, Redact};
use rustix::fs::OFlags;

use crate::discover;
use crate::drop::DropRule;
use crate::push::RateLimit;
use crate::redaction::OwnRule;

/// No file is larger. A list of rules takes a few KiB.
const MAX_BYTES: u64 = 64 << 10;

/// Keys of the webhook's configuration and names of flags that cannot change, and why.
const FIXED: [(&[&str], &str); 3] = [
    (
        &["lokiUrl", "tenant", "token", "tokenFile", "ca", "caFile", "image", "listen"],
        "cannot change while the shipper runs: it decides where the entries and the token go",
    ),
    (
        &["labels", "labelsFrom", "timezone", "multiline", "maxLine", "maxAge", "batchBytes", "batchWait"],
        "cannot change while the shipper runs: the lines of a resend would be other entries, and Loki would show both",
    ),
    (
        &["logDir", "state", "stateDir", "stateFallbackDir", "drainTimeout", "logFormat", "resources", "sidecarMode"],
        "cannot change while the shipper runs: it belongs to the pod",
    ),
];

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeConfigError {
    /// It cannot be read.
    #[error("failed to read the runtime configuration")]
    Read(#[from] std::io::Error),
    /// It is a directory, a FIFO or a device.
    #[error("the runtime configuration is not a regular file")]
    NotAFile,
    /// It is too large.
    #[error("the runtime configuration is longer than {MAX_BYTES} bytes")]
    TooLarge,
    /// It is not YAML.
    #[error("invalid runtime configuration: {0}")]
    Yaml(String),
    /// Unknown keys, invalid values and settings that cannot change, all together.
    #[error("invalid runtime configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Fault>),
}

/// The settings of the file. `None` where the flags decide.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// The lowest severity that is logged.
    pub log_level: Option<LogLevel>,
    /// Which files are followed.
    pub include: Option<Vec<Glob>>,
    /// Which of them are not.
    pub exclude: Option<Vec<Glob>>,
    /// Which entries are dropped.
    pub drop: Option<Vec<DropRule>>,
    /// Whether secrets are replaced.
    pub redact: Option<Redact>,
    /// Redaction rules besides those of the flags.
    pub redact_patterns: Vec<OwnRule>,
    /// The limit of compressed bytes pushed per second.
    pub rate_limit: Option<RateLimit>,
}

/// Reads the file. `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, RuntimeConfigError> {
    // The name may belong to a FIFO: NONBLOCK keeps open() from waiting for its writer.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = match std::fs::File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(RuntimeConfigError::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(RuntimeConfigError::TooLarge);
    }
    Ok(Some(bytes))
}

impl RuntimeConfig {
    /// Parses the content of the file: YAML, or JSON. An empty file changes nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeConfigError> {
        let text = str::from_utf8(bytes).map_err(|error| RuntimeConfigError::Yaml(error.to_string()))?;
        let mut faults = Vec::new();
        let section = tree::parse(text, &mut faults).map_err(RuntimeConfigError::Yaml)?;
        let config = section.map(Self::of).unwrap_or_default();
        if faults.is_empty() {
            return Ok(config);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(RuntimeConfigError::Faults(faults))
    }

    fn of(mut section: Section<'_>) -> Self {
        let include_line = section.line_of("include");
        let (drop_line, patterns_line) = (section.line_of("drop"), section.line_of("redactPatterns"));
        let config = Self {
            log_level: section.parsed("logLevel", words::parse),
            include: section.parsed_texts("include", glob),
            exclude: section.parsed_texts("exclude", glob),
            drop: section
                .parsed_texts("drop", |rule| DropRule::parse(rule).map_err(|error: DropError| error.to_string())),
            redact: section.parsed("redact", words::parse),
            redact_patterns: section
                .parsed_texts("redactPatterns", |rule| OwnRule::new(rule).map_err(|error| error.to_string()))
                .unwrap_or_default(),
            rate_limit: section.parsed("rateLimit", RateLimit::parse),
        };
        if config.include.as_ref().is_some_and(Vec::is_empty) {
            section.fault(include_line, "include", "expected at least one pattern; exclude: ['*'] ships nothing");
        }
        if config.drop.as_ref().is_some_and(|rules| rules.len() > MOST) {
            section.fault(drop_line, "drop", DropError::TooMany.to_string());
        }
        if config.redact_patterns.len() > MOST {
            section.fault(patterns_line, "redactPatterns", RuleError::TooMany.to_string());
        }
        for (keys, why) in FIXED {
            for key in keys {
                section.refuse(key, why);
            }
        }
        section.finish();
        config
    }

    /// The keys that the file sets.
    pub fn keys(&self) -> Vec<&'static str> {
        let keys = [
            ("logLevel", self.log_level.is_some()),
            ("include", self.include.is_some()),
            ("exclude", self.exclude.is_some()),
            ("drop", self.drop.is_some()),
            ("redact", self.redact.is_some()),
            ("redactPatterns", !self.redact_patterns.is_empty()),
            ("rateLimit", self.rate_limit.is_some()),
        ];
        keys.into_iter().filter_map(|(key, is_set)| is_set.then_some(key)).collect()
    }
}

impl RuntimeConfigError {
    /// Everything that is wrong, one string each.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Self::Faults(faults) => faults.iter().map(ToString::to_string).collect(),
            other => vec![runtime::chain(other)],
        }
    }
}

fn glob(pattern: &str) -> Result<Glob, String> {
    if pattern.is_empty() {
        return Err("expected a glob pattern, such as redis-*.log".to_owned());
    }
    discover::glob(pattern).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        RuntimeConfig::parse(text.as_bytes()).unwrap_err().faults()
    }

    #[test]
    fn reads_every_key_from_yaml_and_from_json() {
        let yaml = "logLevel: debug\ninclude: ['*.log']\nexclude: [envoy*]\ndrop: [level=debug]\nredact: off\n\
                    redactPatterns: ['card=[0-9]{16}']\nrateLimit: 2MiB\n";
        let json = r#"{"logLevel": "debug", "include": ["*.log"], "exclude": ["envoy*"], "drop": ["level=debug"],
            "redact": "off", "redactPatterns": ["card=[0-9]{16}"], "rateLimit": "2MiB"}"#;
        for text in [yaml, json] {
            let config = RuntimeConfig::parse(text.as_bytes()).unwrap();
            assert_eq!(config.keys().len(), 7, "{text}");
            assert_eq!((config.log_level, config.redact), (Some(LogLevel::Debug), Some(Redact::Off)));
            assert_eq!(config.rate_limit, Some(RateLimit::BytesPerSecond(2 << 20)));
        }
        for text in ["", "# nothing\n", "{}", "drop:\n"] {
            assert_eq!(RuntimeConfig::parse(text.as_bytes()).unwrap().keys(), [""; 0], "{text}");
        }
        let none = RuntimeConfig::parse(b"rateLimit: none\ndrop: []").unwrap();
        assert_eq!((none.rate_limit, none.keys().len()), (Some(RateLimit::None), 2));
    }

    #[test]
    fn reports_every_fault_together_with_its_line() {
        let faults = faults(
            "logLevel: loud\ninclude: []\nexclude: ['[']\ndrop: [debug]\nredact: maybe\nredactPatterns: ['a=(']\n\
             rateLimit: fast\nreduct: on\n- x\n"
                .trim_end_matches("- x\n"),
        );
        let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(lines, (1..=8).map(|line| format!("line {line}")).collect::<Vec<_>>(), "{faults:#?}");
        assert!(faults[7].contains("did you mean redact?"), "{faults:#?}");
    }

    #[test]
    fn refuses_what_cannot_change_and_says_why() {
        for (text, why) in [
            ("lokiUrl: https://evil/push", "where the entries and the token go"),
            ("tenant: audit", "where the entries and the token go"),
            ("labels: {a: b}", "would be other entries"),
            ("timezone: UTC", "would be other entries"),
            ("state: ephemeral", "belongs to the pod"),
        ] {
            let faults = faults(text);
            assert!(faults.len() == 1 && faults[0].starts_with("line 1: ") && faults[0].contains(why), "{faults:?}");
        }
    }

    #[test]
    fn limits_the_rules() {
        for (key, rule) in [("drop", "level=debug"), ("redactPatterns", "a=b")] {
            let faults = faults(&format!("# rules\n{key}:\n{}", format!("- {rule}\n").repeat(MOST + 1)));
            assert!(faults.len() == 1 && faults[0].starts_with(&format!("line 2: {key}: too many")), "{faults:?}");
        }
    }

    #[test]
    fn reads_a_regular_file_of_a_bounded_size_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shipper.yaml");
        assert!(read(&path).unwrap().is_none());
        std::fs::write(dir.path().join("data"), "drop: []").unwrap();
        std::os::unix::fs::symlink("data", &path).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"drop: []");
        std::fs::write(&path, vec![b'#'; usize::try_from(MAX_BYTES).unwrap()]).unwrap();
        assert!(read(&path).unwrap().is_some());
        std::fs::write(&path, vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(matches!(read(&path), Err(RuntimeConfigError::TooLarge)));
        assert!(matches!(read(dir.path()), Err(RuntimeConfigError::NotAFile)));
        let (fifo, mode) = (dir.path().join("fifo"), rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(read(&fifo), Err(RuntimeConfigError::NotAFile)));
        assert!(matches!(read(Path::new("/dev/zero")), Err(RuntimeConfigError::NotAFile)));
    }
}
